package fault

import (
	"crypto/tls"

	"mbus/test/oracle"
)

// A ledger is that of the oracle, with how publishers reach the topic.
type ledger struct {
	*oracle.Ledger
	topic   string
	options string // of the producers' request, from the question mark on

	config *tls.Config // of the publishers; nil for plain TCP
	login  string      // comes before each request; "" for no user
}

func newLedger(topic string) *ledger { return &ledger{Ledger: oracle.NewLedger(topic), topic: topic} }

func (l *ledger) message(publisher string, n, size int) string { return l.Message(publisher, n, size) }

func (l *ledger) send(publisher string, first int) (n int) { return l.Send(publisher, first) }

func (l *ledger) acknowledge(publisher string, n int) { l.Acknowledge(publisher, n) }

func (l *ledger) judge(read []string) tally { return tally(l.Judge(read)) }
