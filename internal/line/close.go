package line

import "mbus/internal/tcpserver"

// confirmClose closes the connection in good order and returns nil if the client has
// read everything, as far as the connection shows.
func (c *conn) confirmClose() error { return tcpserver.ConfirmClose(c.net, c.closeTimes()) }

// closeInOrder closes the connection in good order where nothing depends on what the client
// has read.
func (c *conn) closeInOrder() error { return tcpserver.CloseInOrder(c.net, c.closeTimes()) }

func (c *conn) closeTimes() tcpserver.CloseTimes {
	l := &c.broker.Limits
	return tcpserver.CloseTimes{
		Asked: c.asked, Acknowledge: l.WriteTime, HalfClose: l.HalfCloseTime, Reset: l.ResetTime, Close: l.CloseTime,
	}
}
