package line_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

const tlsTest = "TestOverTLS"

// overTLS says whether a test is one of those of TestOverTLS.
func overTLS(t testing.TB) bool { return strings.HasPrefix(t.Name(), tlsTest+"/") }

// clientTests are those of what a client sees of its connection, and it of the client.
var clientTests map[string]func(*testing.T)

func init() { // some of them run others
	clientTests = map[string]func(*testing.T){
		"a close consumes":              TestClosingAfterReadingAllConsumes,
		"a half-close consumes":         TestHalfClosingAtTheEndConsumes,
		"only a close consumes":         TestNothingIsConsumedUntilTheClientHasClosed,
		"a reset consumes nothing":      TestResetAfterReadingAllConsumesNothing,
		"a reset in the middle":         TestResetInTheMiddleConsumesNothing,
		"bytes unread":                  TestClosingWithBytesUnreadConsumesNothing,
		"an early half-close":           TestHalfClosingEarlyAndReadingAllConsumes,
		"an early half-close and reset": TestHalfClosingEarlyAndThenAResetConsumesNothing,
		"no close":                      TestClientThatNeverClosesHasConsumedNothing,
		"chatter":                       TestClientThatChattersInsteadOfClosingHasConsumedNothing,
		"a flood":                       TestClientThatFloodsBehindItsRequestGetsItsMessages,
		"a stalled reader":              TestReaderThatStallsIsCutOffAndHasConsumedNothing,
		"a reader stalled at the end":   TestReaderThatStallsAtTheEndIsCutOff,
		"a slow reader":                 TestReaderThatIsSlowGetsEverything,
		"a half-close soon":             TestAClientThatHalfClosesSoonHasClosedEarly,
		"a half-close soon consumes":    TestAClientThatHalfClosesSoonAndReadsAllConsumes,
		"no half-close":                 TestAClientThatDoesNotHalfCloseGetsTheEnd,
		"nothing to consume":            TestTheEndIsNotPutOffWhereNothingIsConsumed,
		"much unread at the end":        TestHalfClosingAtTheEndWithMuchUnreadConsumesNothing,
		"all read at the end":           TestHalfClosingAtTheEndAndAllReadConsumes,
		"too many connections":          TestConnectionsBeyondTheLimitAreAnsweredBusyAndTheOthersGoOn,
		"too many bytes":                TestBytesInFlightBeyondTheBudgetAreAnsweredBusyAndTheOthersGoOn,
		"waiting producers":             TestProducersThatWaitHoldNoMoreThanTheyHaveSent,
		"a large batch":                 TestLargeBatchThatFindsNoBudgetIsAnsweredBusyAndComesLater,
		"stalled readers' memory":       TestStalledReadersCostLittleMemory,
		"parts of messages":             TestPartsOfMessagesDoNotHoldMemoryForEver,
		"a slow message":                TestAMessageMayTakeItsTimeWhereThereIsMemory,
		"a stop and producers":          TestStopAnswersProducersAndEndsThem,
		"a stop and what is on its way": TestStopAcknowledgesWhatIsOnItsWayBeforeItEndsAConnection,
		"a stop and drains":             TestStopLetsDrainsFinish,
		"a stop that cuts off":          TestStopCutsOffWhoDoesNotFinish,
		"a stop leaves nothing":         TestStopLeavesNoGoroutineAndNoFile,
		"a lost worker":                 TestAMessageThatKillsItsWorkerBecomesADeadLetter,
		"the rest of a lost connection": TestTheRestOfALostConnectionIsGivenBackAtOnce,
		"acknowledged and lost":         TestALostConnectionThatHasAcknowledgedAllCostsNothing,
		"an end in good order":          TestAnEndInGoodOrderIsNoAttempt,
		"a close during writes":         TestACloseWhileTheBrokerWritesIsNoAttempt,
		"acks before a loss":            TestWhatWasSaidBeforeAConnectionWasLostCounts,
		"a stalled worker":              TestAReaderThatStallsHasFailed,
		"a dead follower":               TestWhatADeadFollowerHeldComesAtOnceInOrder,
		"without ack":                   TestWithoutAckWhatTheSystemReceivedCounts,
		"without ack and closed":        TestMessageThatOnlyAClosedClientGotComesAgain,
		"without ack and stalled":       TestWithoutAckWhatNobodyReceivedComesAgain,
		"a half-closed follower":        TestFollowerThatHasClosedItsSendingSideGoesOn,
		"a stop and followers":          TestStoppingTheBrokerEndsFollowers,
		"a stalled follower":            TestStalledFollowerDelaysNoOther,
		"half-closed and reset":         TestFollowersThatHaveHalfClosedAreGoneWithAReset,
		"producers":                     TestEachMessageIsAcknowledgedWhileTheConnectionStaysOpen,
		"whole or missing":              TestMessagesOfAConnectionThatIsResetAreWholeOrMissing,
		"byte by byte":                  TestBytesMayComeOneAtATime,
		"the largest message":           TestMessageIsAsLargeAsTheLimitAndNoLarger,
		"a large table":                 TestASlowReaderOfALargeTableGetsAllOfIt,
		"promises":                      promisesToWorkers,
	}
}

// What is promised of the end of a connection, of slow and stalled clients, of limits and of a
// stop holds over TLS as it does over TCP, also for clients that log in: the tests are the same.
func TestOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time; make test runs it")
	}
	for name, test := range clientTests {
		t.Run(name, test)
	}
	t.Run("hostile clients", hostileClients)
	t.Run("a client without TLS", plainBesideTLS)
}

// promisesToWorkers is a part of TestPromisesToRandomWorkers.
func promisesToWorkers(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			liveOnce(t, seed)
		})
	}
}

// hostileClients begin TLS and go on with something else, or break it off, or change bytes on their way. The others are
// served, nothing of a message counts that is not whole, and all memory comes back.
func hostileClients(t *testing.T) {
	const limit = 4 << 20
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = limit }})
	b.publish("orders", "before")
	hello := b.clientHello()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := bytes.Clone(hello)
		switch seed % 4 {
		case 0: // lines behind what begins a handshake
			p = []byte("\x16orders\nfrom the wrong port\n")
		case 1: // a part of a handshake
			p = p[:r.IntN(len(p))]
		case 2: // a handshake with some bits changed
			for range 3 {
				p[1+r.IntN(len(p)-1)] ^= 1 << r.IntN(8)
			}
		default:
			p = make([]byte, 1+r.IntN(100_000))
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			p[0] = 0x16 // another byte is a request without TLS
		}
		b.plain(p)
	}
	for range 10 { // a right beginning, and then bytes of which no record is made
		c := b.dial(b.producers, "orders\n"+strings.Repeat("x", 100_000))
		c.TCPConn.Write([]byte("\x17\x03\x03\x00\x20 a record that nobody has encrypted\n\n\n"))
		if _, err := io.Copy(io.Discard, c.r); err == nil {
			t.Fatal("the connection ends in good order")
		}
		c.TCPConn.Close()
	}
	b.mustDrain("orders", "before\n")
	b.takeBudget(limit)
	b.broker.Budget.Give(limit)
	b.mustServe()
	if warnings := b.book.Lines("level=WARN"); len(warnings) > 0 {
		t.Errorf("strangers are worth a warning: %q", warnings)
	}
}

// On loopback a client without TLS is served by the same port.
func plainBesideTLS(t *testing.T) {
	b := start(t, setup{})
	b.plain([]byte(b.auth + "orders\nwithout\n"))
	b.publish("orders", "with")
	b.mustDrain("orders", "without\nwith\n")
}

// plain sends bytes to the producers' port, without TLS, and waits until the broker has seen
// enough, or has had all of them.
func (b *bus) plain(p []byte) {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.producers)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(p); err != nil {
		return
	}
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
}

// clientHello is the first that a client sends.
func (b *bus) clientHello() []byte {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			brokertest.TLSClient(conn, b.clientTLS).Handshake() // which fails
			conn.Close()
		}
	}()
	conn, err := l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	p := make([]byte, 10_000)
	n, err := conn.Read(p)
	if err != nil {
		b.t.Fatal(err)
	}
	return p[:n]
}
