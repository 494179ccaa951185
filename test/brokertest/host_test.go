package brokertest

import (
	"io"
	"net"
	"testing"
	"time"
)

// Packets go from host to host, later or not at all if that is wanted.
func TestNetworkDelaysAndLosesPackets(t *testing.T) {
	n := NewNetwork(t, 2)
	var l net.Listener
	var err error
	n.Hosts[1].do(func() { l, err = net.Listen("tcp", n.Hosts[1].Address+":1000") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	conn, err := n.Hosts[0].Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo := func() error {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(make([]byte, 100<<10)); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 100<<10))
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	n.Set(0, 1, Way{Delay: 100 * time.Millisecond, Loss: 0.01})
	start := time.Now()
	if err := echo(); err != nil || time.Since(start) < 100*time.Millisecond {
		t.Errorf("with a delay of 100ms it took %v: %v", time.Since(start), err)
	}
	n.Isolate(1, true)
	conn.Write([]byte{1})
	conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a packet came through")
	}
	n.Isolate(1, false)
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
