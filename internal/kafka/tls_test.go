package kafka_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"mbus/internal/broker"
)

const tlsTest = "TestOverTLS"

// overTLS says whether a test is one of those of TestOverTLS.
func overTLS(t testing.TB) bool { return strings.HasPrefix(t.Name(), tlsTest+"/") }

// What is promised of slow and stalled clients, of memory, of hostile ones and of a stop holds
// over TLS as it does over TCP: the tests are the same.
func TestOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time; make test runs it")
	}
	for name, test := range map[string]func(*testing.T){
		"every version":                TestProduceAnswersTheOffsetInEveryVersion,
		"pipelined":                    TestProducesArePipelinedAndAnsweredInOrder,
		"bytes produced and fetched":   TestTheBytesProducedAreTheBytesFetched,
		"large and small answers":      TestALargeAnswerIsTheSameAsSmallOnes,
		"byte by byte":                 TestARequestMayComeByteByByte,
		"large and small requests":     TestLargeAndSmallRequestsMayFollowOnEachOther,
		"no request":                   TestWhatIsNoRequestClosesTheConnectionAndSaysWhy,
		"half a request":               TestARequestThatStopsInTheMiddleIsNotWaitedForWithoutEnd,
		"a slow reader":                TestASlowReaderIsNotCutOffWhileItReads,
		"stalled readers":              TestReadersThatStallLeaveTheBudgetToOthers,
		"no answers taken":             TestAClientThatTakesNoAnswersHoldsNoMemory,
		"a siege of clients without":   TestTheServerHasItsMemoryAfterASiege,
		"waiting for memory":           TestARequestWaitsForMemoryAndKeepsItsConnection,
		"halves of requests":           TestHalvesOfRequestsDoNotWaitForEachOther,
		"half a request's memory":      TestHalfARequestDoesNotHoldMemoryForEver,
		"a size that is claimed":       TestASizeThatIsClaimedCostsNothing,
		"large requests":               TestManyLargeRequestsKeepOthersServed,
		"a large request":              TestALargeRequestIsStoredAsItComes,
		"a large request cut short":    TestARequestThatIsCutShortEndsItsConnectionAndNoMore,
		"a stop and waiting fetches":   TestAServerThatStopsAnswersAFetchThatWaits,
		"a stop and memory":            TestAServerStopsWhileRequestsWaitForMemory,
		"a stop and waiting members":   TestStopAnswersMembersThatWait,
		"a connection too many":        TestOneConnectionTooManyIsClosed,
		"a line on the port for Kafka": TestALineOfTextGetsTheOtherPorts,
		"a client without TLS":         plainBesideTLS,
		"the name in the certificate":  nameOfTheCertificate,
	} {
		t.Run(name, test)
	}
}

// Clients get the name by which they have come, if the certificate is for it: they would refuse it for an address.
func nameOfTheCertificate(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	_, port, _ := net.SplitHostPort(b.addr)
	for name, want := range map[string]string{"bus.example": "bus.example", "attacker.example": "127.0.0.1", "": "127.0.0.1"} {
		b.tls = &tls.Config{ServerName: name, InsecureSkipVerify: true}
		for what, said := range addresses(b.dial()) {
			if said != net.JoinHostPort(want, port) {
				t.Errorf("%q: %s says %s", name, what, said)
			}
		}
	}
}

// On loopback a client without TLS is served by the same port.
func plainBesideTLS(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	over := b.dial()
	b.tls = nil
	for _, c := range []*client{b.dial(), over, b.dial()} {
		c.publish("orders", 0, messages(2))
	}
}

// Readers of large responses that take nothing hold no more than the budget, or nothing where
// the system sends from the file, and give it back.
func TestReadersThatStallLeaveTheBudgetToOthers(t *testing.T) {
	const limit, readers = 12 << 20, 12
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = limit }})
	b.topic("orders", 1)
	b.topic("usual", 1)
	req, _ := b.backlog(1, 1<<20)
	var stalled []*client
	for range readers {
		c := b.dial()
		if err := c.tcp.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			c.send(req)
		}
		stalled = append(stalled, c)
	}
	await(t, "some wait for their clients", func() bool { return b.server.Writing() >= 2 })
	c := b.dial() // the second that does not stall, beside that of backlog
	for range 5 {
		c.publish("usual", 0, messages(3))
	}
	for _, s := range stalled {
		s.tcp.SetLinger(0)
		s.tcp.Close()
	}
	await(t, "the budget is given back", func() bool { return len(b.server.Connections()) == 2 && b.free(limit) })
}
