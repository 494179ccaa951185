package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
)

// A serverLog takes the lines that the embedded server logs. Its notices and warnings also come in
// good order, such as at each election, so they are logged a level lower.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // the first line after which a server of its own would have exited
	twin  func()      // called when another node has this one's number
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("the engine", "says", fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // of this process, each time another one
	}
	l.log.Info("the engine", "says", fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	if strings.HasPrefix(format, "Error trying to connect to route") {
		l.Noticef(format, v...) // also of a node that has not been started yet
		return
	}
	if strings.Contains(format, "Remote server has a duplicate name") {
		l.Noticef(format, v...) // the node that wants to join ends with an error of its own
		l.twin()
		return
	}
	l.log.Warn("the engine reports an error", "says", fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("the engine has failed", "says", text)
	select {
	case l.fatal <- text:
	default:
	}
}
