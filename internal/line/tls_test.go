package line_test

import (
	"strings"
	"testing"
)

const tlsTest = "TestOverTLS"

// overTLS says whether a test is one of those of TestOverTLS.
func overTLS(t testing.TB) bool { return strings.HasPrefix(t.Name(), tlsTest+"/") }

// What is promised of the end of a connection, of slow and stalled clients, of limits and of a
// stop holds over TLS as it does over TCP: the tests are the same.
func TestOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time; make test runs it")
	}
	for name, test := range map[string]func(*testing.T){
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
	} {
		t.Run(name, test)
	}
}
