#!/bin/sh
# sabotage.sh [-n] [PATTERN]: tests of the tests. Each case breaks a promise in one source file, in
# a copy that the build uses instead, and demands that a named test turns red. With a pattern
# only the cases with such a name run. All run, even if one fails. With -n none runs: it only says
# which of them do not fit the source.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# sabotage NAME FILE SED-EXPRESSION PACKAGE TEST
sabotage() {
	printf '%s\0' "$@" >>"$work/cases"
}

commit=internal/commitlog/commit.go
power=TestPowerCutAtAnyCallLosesNothingAcknowledged

sabotage "acknowledge before the sync" $commit \
	'/) commit() {/,/^}/ s/synced, err := c.sync()/synced, err := syncPoint{}, error(nil); go c.sync()/' ./internal/commitlog $power
sabotage "never sync a segment" $commit \
	'/) sync() (syncPoint, error) {/,/^}/ s/err = f.Sync()/_ = f/' ./internal/commitlog $power
sabotage "never sync a directory" internal/commitlog/roll.go \
	's/err := l.fs.SyncDir(l.dir)/err := error(nil)/' ./internal/commitlog $power
sabotage "tombstone after the move" internal/commitlog/topics.go \
	'/) DeleteTopic(/,/^}/ { s/if err := s.catalog.bury(t.ID); err != nil/if err := error(nil); err != nil/; s/moved, err := s.topics.remove(name, t.ID)/&; err = errors.Join(err, s.catalog.bury(t.ID))/ }' \
	./internal/commitlog $power
sabotage "forget a topic that is missing" internal/commitlog/unusable.go \
	'/) openTopics(/,/^}/ s/s.setUnusable(name, errAbsent)/delete(s.catalog.made, name)/' ./internal/commitlog TestUnusableTopicKeepsItsNameAndStopsNoOther
sabotage "trim before the sync with an interval" internal/commitlog/logstart.go \
	's/err := b.log.commits.syncVisible()/err := error(nil)/' ./internal/commitlog $power
sabotage "acknowledge for longer than the interval" internal/commitlog/interval.go \
	's/age >= interval/age < 0/' ./internal/commitlog TestAppendsWaitForASyncThatTakesLongerThanTheInterval
sabotage "sync a failed sync again" internal/vfs/aio.go \
	's/errors.Is(errno, errors.ErrUnsupported)/false/' ./internal/vfs TestASyncThatEndedIsNotOneThatWasRefused
sabotage "take the sync of a complete segment for one of the next" internal/commitlog/progress.go \
	's/if at.segment != p.active {/if false {/' ./internal/commitlog TestASyncOfACompleteSegmentSaysNothingOfTheNextOne
journal=internal/commitlog/journal.go
files=internal/commitlog/journalfiles.go

sabotage "acknowledge a round before its sync" internal/commitlog/roundfile.go \
	'/) write(frames/,/^}/ s/return f.file.Sync()/go f.file.Sync(); return nil/' ./internal/commitlog TestARoundIsOneSyncForManyLogs
sabotage "use the space of the journal again before the segments are synced" $files \
	'/) checkpoint() error/,/^}/ s/err := full.syncSegments(f.keepPace)/err := error(nil)/' ./internal/commitlog TestACheckpointHoldsUpNoPublisher
sabotage "sync the segments of a checkpoint all at once" $files \
	'/) isEarly(begun/,/^}/ s/return !f.closed/return false \&\& !f.closed/' ./internal/commitlog TestACheckpointKeepsPaceWithTheCurrentFile
sabotage "use the space of the journal again while a log has failed" internal/commitlog/piece.go \
	's/^\t\treturn err$/\t\treturn nil/' ./internal/commitlog TestALogThatFailsAtACheckpointIsHealed
sabotage "refuse what the journal can't take" $journal \
	'/) commit(joined/,/^}/ s/go p.sync()/p := p; for _, w := range p.waiting { w.done(0, err) }; p.waiting = nil; go p.sync()/' ./internal/commitlog TestAJournalThatCannotBeWrittenRefusesNothing
sabotage "take what may be refused into a late round" internal/commitlog/piece.go \
	's/end = v.high$/end = c.written/' ./internal/commitlog TestALateRoundHoldsOnlyWhatIsAcknowledged
sabotage "leave it to a commit that has begun to set the timer of the next late sync" internal/commitlog/commit.go \
	'/) goOn()/,/^}/ s/if c.log.syncEvery > 0 {/if false {/' ./internal/commitlog TestARecordThatComesDuringALateSyncGetsTheNextOne
sabotage "close the journal in a round" $files \
	'/) close(empty/,/^}/ s/f.tasks.Wait()/_ = 0/' ./internal/commitlog TestCloseWaitsForARound
sabotage "keep the data of a log for a later round" $journal \
	's/joined\[i\].data = nil/_ = joined[i].data/' ./internal/commitlog TestWhatDoesNotFitIntoARoundIsInALaterOne
sabotage "write bulk to the journal" internal/commitlog/progress.go \
	'/) isSmall() bool/,/^}/ s/largeSyncBytes/1<<30/g' ./internal/commitlog TestALogAloneAndALargeOneDoNotUseTheJournal
replay=internal/commitlog/replay.go
replaylog=internal/commitlog/replaylog.go
frames=internal/commitlog/journalfile.go

sabotage "take frames of an earlier use of a journal file" $frames \
	's/binary.BigEndian.Uint64(p\[at+8:\]) == salt/true/; s/binary.BigEndian.Uint64(h\[8:\]) != salt/false/' ./internal/commitlog TestFramesOfAnEarlierUseOfAJournalFileAreNone
sabotage "trust the data of a frame" $frames \
	's/; binary.BigEndian.Uint32(h\[88:\]) == crc32.Checksum(data, castagnoli) {/; true {/' ./internal/commitlog TestDamageOfAJournalCostsTheMessagesThatItTouches
sabotage "trust no frame of an unfinished round" $replay \
	's/if f.data == nil \&\& f.round == c.lastRound()/if f.round == c.lastRound()/' ./internal/commitlog TestDamageOfAJournalCostsTheMessagesThatItTouches
sabotage "take damage of a synced round for an unfinished one" $frames \
	'/) lost(/,/^}/ s/if inLast {/if true {/' ./internal/commitlog TestDamageInTheJournalIsReportedWithOffsets
sabotage "empty the journal before the replay is synced" internal/commitlog/recover.go \
	'/) syncAgain(/,/^}/ s/return f.Sync()/_ = f; return nil/' ./internal/commitlog TestReplayIsRepeatedAfterACrash
sabotage "let the last round of the journal stand for a segment" $replay \
	's/f.proven = f.data != nil \&\& .*/f.proven = f.data != nil/' ./internal/commitlog TestAStartSyncsNoSegmentForWhichTheJournalStands
sabotage "leave the bytes for which the journal stands as they are in the page cache" internal/commitlog/recover.go \
	's/s.writeAgain(found.valid) == nil {/true {/' ./internal/commitlog TestTheJournalOfAStartIsEmptiedWhenItsSegmentsAreSynced
sabotage "empty the journal of a start before the segments are synced" internal/commitlog/standing.go \
	's/if len(st.ends) == 0 || f.kept {/if true || f.kept {/' ./internal/commitlog TestAStartSyncsNoSegmentForWhichTheJournalStands
sabotage "stop without a sync of what the journal stands for" internal/commitlog/appender.go \
	's/ a.isLeft())/ false)/' ./internal/commitlog TestAStopSyncsTheSegmentsForWhichTheJournalStands
sabotage "end a log at a gap in front of what the journal held" internal/commitlog/scanner.go \
	's/ \&\& w.at.pos >= w.durable//' ./internal/commitlog TestReplayBehindAGapWithAnInterval
sabotage "use the offsets of a damaged frame again" internal/commitlog/recover.go \
	's/max(next, r.journal.nextIn(s))/next/; s/max(synced.next, durable)/synced.next/' ./internal/commitlog TestDamageOfTheLastFrameOfALog
sabotage "replay frames of another epoch" $replaylog \
	's/case f.epoch != v.log.epoch || /case /' ./internal/commitlog TestFramesThatAreNotReplayed
sabotage "replay below the recovery point" $replaylog \
	's/case end <= point:/case end <= point \&\& end < 0:/' ./internal/commitlog TestFramesThatAreNotReplayed
sabotage "replay over messages that are newer" $replaylog \
	's/case v.log.hasOthers(there, f):/case false:/' ./internal/commitlog TestJournalThatIsOlderThanASegment
sabotage "forget the frames of a topic that is missing" $replay \
	's/needed := f.unread != nil || f.holds(waits)/needed := false/; s/return f.unread != nil || f.holds(waits)/return false/' ./internal/commitlog TestFramesOfAMissingTopicAreKept
sabotage "rely on the journal before what was refused is cut off on the disk" internal/commitlog/progress.go \
	'/) isSmall() bool/,/^}/ s/p.cuts == p.lastCut/true/' ./internal/commitlog TestARefusedAppendDoesNotComeBackBehindTheJournal
sabotage "rely on the journal before what the process before refused is cut off on the disk" internal/commitlog/recover.go \
	's/c.isCut()/_ = 0/' ./internal/commitlog TestACutByTheProcessBeforeIsDurableBeforeTheJournalCounts
sabotage "heal a log while a broken journal holds what was refused" internal/commitlog/heal.go \
	's/err = l.journal.files.isSound()/err = nil/' ./internal/commitlog TestARefusedRoundDoesNotComeBack
sabotage "take what is in the journal for synced" internal/commitlog/progress.go \
	'/) isInJournal(/,/^}/ s/p.reached(of.end, of.began)/&; p.synced = of.end.pos/' ./internal/commitlog TestWhatTheJournalHeldOutlivesItsNextUse
sabotage "write to a file of the journal before its name is durable" $files \
	'/) renew(/,/^}/ s/err := f.dir.fs.SyncDir(.*; err/err := error(nil); err/' ./internal/commitlog TestWhatTheJournalHeldOutlivesItsNextUse
sabotage "miss no file of the journal" $replay \
	's/r.missing = there < 2/r.missing = false/' ./test/fault TestF43AnyDamageToAJournalAfterAPowerCut
sabotage "report a missing file of the journal at each start" $replay \
	's/_ = r.dir.setFormat(false) .* or each start after.*//' ./internal/commitlog TestWhatIsMissingOfTheJournalIsReportedOnce
sabotage "call a stop a clean close before recovery could finish" internal/commitlog/store.go \
	's/ \&\& !pending {/ \&\& (!pending || true) {/' ./internal/commitlog TestAStopBeforeALogIsPutRightIsNoCleanClose
sabotage "verify without the journal" internal/commitlog/verify_partition.go \
	's/err := c.replayJournal(); err/err := error(nil); err/' ./internal/commitlog TestReplayWritesWhatTheSegmentLacks
sabotage "heal a log without a sync" internal/commitlog/heal.go \
	's/err = to.Sync()/err = nil/' ./internal/commitlog TestCrashAtAnyCallOfHealingLosesNothing
sabotage "heal a log without its name" internal/commitlog/heal.go \
	's/err := l.fs.SyncDir(l.dir)/err := error(nil)/' ./internal/commitlog TestALogGoesOnAfterAFailedSync
sabotage "start on a healed log whose name is not durable" internal/commitlog/recover.go \
	's/if holds(found.entries, renamedName) {/if false {/' ./internal/commitlog TestAKillWhileALogHealsLosesNothing
sabotage "heal a log by the file that has failed" internal/commitlog/heal.go \
	'/) replace(old /,/^}/ s/err := l.copyActive(old, synced, end); err/err := error(nil); synced < 0 || err/; s/^\ts, err := l.replaceActive(old, end)/\ts, err := old, error(nil)/' ./internal/commitlog TestAHealedLogKeepsWhatWasAcknowledgedBeforeTheSync
sabotage "rename the log start without a sync" internal/commitlog/logstart.go \
	's/err := l.fs.SyncDir(l.dir)/err := error(nil)/' ./internal/commitlog TestFullDiskIsNoReasonToKeepWhatMayGo
sabotage "write positions before their topic is synced" internal/broker/positionslog.go \
	's/^\tj.secure(entries)$/\t_ = entries/' ./internal/broker TestPositionsAreWrittenWhenTheirLogsAreSynced
sabotage "compact positions before their topic is synced" internal/broker/positionslog.go \
	's/^\t\tj.secure(next)$/\t\t_ = next/' ./internal/broker TestCompactionWritesPositionsWhenTheirLogsAreSynced
sabotage "count a dead letter before it is durable" internal/broker/deadletters.go \
	's/durably(log, done)/func(_ int64, err error) { done(err) }/' ./internal/broker TestADeadLetterIsConsumedWhenItIsDurable
sabotage "tell of a redrive that is not kept" internal/delivery/redrive.go \
	'/) consume(n/,/^}/ s/r.sub.broker.AwaitPositions()/error(nil)/' ./internal/line TestARedriveTellsOfWhatItsPositionKeeps
sabotage "acknowledge a letter before its message is open for good" internal/delivery/redrive.go \
	'/) completeStep()/,/^}/ s/r.sub.broker.AwaitPositions()/error(nil)/' ./internal/line TestALetterIsConsumedWhenItsMessageIsOpenForGood
sabotage "give a letter to another group" internal/broker/redrive.go \
	's/r.view.Position(l.Group, t/r.view.Position(group.Default, t/' ./internal/line TestALetterGoesBackToTheGroupThatFailedItAndToNoOther
sabotage "reopen a message that is on its way to the dead letters" internal/group/reopen.go \
	's/p.leases.holds(failed, offset) \&\& /false \&\& /' ./internal/group TestReopen
sabotage "reopen a message in memory only" internal/group/reopen.go \
	'/) Reopen(/,/^}/ s/p.kept.mark()//' ./internal/group TestReopen
sabotage "delete the positions of a topic that is missing" internal/broker/positionsload.go \
	's/!older \&\& o.store.Deleted(s.TopicID)/!older/' ./internal/broker TestPositionsInATopicThatIsMissingAreKept
sabotage "leave a position beyond the end" internal/broker/positionsload.go \
	's/s.Clamp(end)/s.Clamp(end + 1<<40)/' ./internal/broker TestPositionsBeyondTheEndAreSetToTheEnd
sabotage "begin at the end where a position may be lost" internal/broker/losses.go \
	's/return start < s.Offset/return start < 0/' ./internal/broker TestDamagedPositionsStopNothingAndSkipNothing
sabotage "take producer ids from the request" internal/kafka/22_init_producer_id.go \
	's/= newProducerID(), 0/= req.ProducerID, req.ProducerEpoch+1/' ./internal/kafka TestProducersThatBringTheSameIDLoseNothing
sabotage "tell of a group's offsets before its last commits" internal/kafka/09_offset_fetch.go \
	's/if !c.server.broker.AwaitCommits(.*{$/if names != nil {/' ./internal/kafka TestTheNextOwnerBeginsAtTheLastCommitOfTheOneBefore
sabotage "let others begin before a member's last commit" internal/coordinator/requests.go \
	's/return c.opts.Acquire(r.Group)$/return func() {}, nil/' ./internal/coordinator TestAGroupIsClaimedUntilItsLastCommitHasEnded
sabotage "give memory to those who come last" internal/broker/budget.go \
	's/if len(b.queues\[want.Share\]) == 0 \&\& b.exchange(c) {/if b.exchange(c) {/' ./internal/broker TestWhoWaitsForMemoryIsServedInTurn
sabotage "let parts of requests take all memory" internal/broker/budget.go \
	's/> limit\/2 /> limit /' ./internal/broker TestThoseWhoHoldAPartDoNotWaitForEachOther
sabotage "remember a batch that failed as stored" internal/broker/sequences.go \
	's/a.failed.Store(err != nil)/a.failed.Store(false)/' ./internal/broker TestIdempotentProducersAgainstAModel
recover=internal/commitlog/recover.go
sabotage "never sync a recovery point by itself" internal/commitlog/points.go \
	's/if l.syncRecoveryPoint() != nil {/if false {/' ./internal/commitlog TestRecoveryPointIsMadeDurableByItself
sabotage "cut off what is sound behind damage after a power cut" $recover \
	's/if late {/if true {/' ./internal/commitlog TestPowerCutAndDamageAtAnyCallCostThatBatchOnly
sabotage "take what is visible for synced when an index is built again" internal/commitlog/segment.go \
	's/if v.active || s.index.recoveryPoint().pos > v.end {/if false {/' ./internal/commitlog TestIndexBuiltAgainIsNotAheadOfTheSync
sabotage "read an index under a lock that appends take" internal/commitlog/indexsearch.go \
	's/err := x.search(in.count, after.*/x.mu.Lock(); &; x.mu.Unlock()/' ./internal/commitlog TestAStalledReadHoldsUpNoAppend
sabotage "open a file under a lock that appends take" internal/commitlog/handle.go \
	'/) acquire() (/,/^}/ s/f, err := h.fs.Open(h.name)/h.mu.Lock(); &; h.mu.Unlock()/' ./internal/commitlog TestAStalledReadHoldsUpNoAppend
sabotage "append before the index of a new segment is synced" $recover \
	's/if r.sizes\[s.base\] == 0 \&\& r.log.uncertain \&\& !isFirst {/if false \&\& isFirst {/' ./internal/commitlog TestIndexIsSyncedBeforeItsSegmentIsWrittenTo
sabotage "write over the disk after another boot" $recover \
	'/) writeAgain(/,/^}/ s/if !s.log.uncertain {/if false {/' ./internal/commitlog TestRecoveryWritesOverTheLogOnlyInTheSameBoot
sabotage "cut off a torn tail that could not be copied" internal/commitlog/quarantine.go \
	'/) copyTail(/,/^}/ s/return "", err$/return "", nil/' ./internal/commitlog TestATornEndIsKeptWholeOrNotCutOff
sabotage "keep the window of an LZ4 frame for the next one" internal/batch/codec/lz4.go \
	's/if p\[4\]&lz4Independent == 0 {/if false {/' ./internal/batch/codec TestALZ4FrameCanNotReferToTheOneBefore
sabotage "let a request claim elements for nothing" internal/kafka/cost.go \
	's/for w.pay(n, f.size); n > 0/for ; n > 0/' ./internal/kafka TestNoCountOfAnyRequestCostsMoreThanWasCounted
sabotage "check no CRC" internal/batch/batch.go \
	's/if got := b.checksum(); got != b.CRC()/if got := b.CRC(); got != b.CRC()/' ./test/fault TestF09FlippedBitInASealedSegment
sabotage "an unreadable sector is an error for the whole segment" internal/vfs/unreadable.go \
	's/return err != nil && slices/return false \&\& slices/' ./internal/commitlog TestUnreadableSectorsCostTheirBatchesOnly
sabotage "take the first sound batch behind damage" internal/commitlog/runs.go \
	'/) decide() error {/,/^}/ s/r, ok := c.claimed(left, right, d)/if c.others(left, right, false, claim{}); left == c.from { break }; &/
	/) others(/,/^}/ s/cmp.Compare(y.end-y.begins.pos, x.end-x.begins.pos)/cmp.Compare(x.pos, y.pos)/' \
	./internal/commitlog TestMessageIsNeverServedAsABatch
sabotage "take a batch of any partition" internal/commitlog/epoch.go \
	's/return h.LeaderEpoch() == int32(e)/return true/' ./test/fault TestF12SegmentInAnothersPlace
sabotage "never ask the system to sync" internal/vfs/os.go \
	's/err := syscall.Fdatasync(.*));/err := error(nil);/' ./test/programs TestFailedSyncIsNeverAcknowledged
sabotage "take what was sent for consumed" internal/tcpserver/close.go \
	's/if err := c.awaitEnd(t.Reset); err != nil/if err := error(nil); err != nil/' ./test/programs TestConsumerKilledBeforeItsOutputWasTakenHasConsumedNothing
sabotage "close without waiting for a half-close" internal/tcpserver/close.go \
	's/t.Asked.Add(t.HalfClose)/t.Asked/' ./internal/line TestAClientThatHalfClosesSoonHasClosedEarly
sabotage "wait for a half-close where nothing is consumed" internal/line/consumer.go \
	's/if k.session.IsSettled() {/if false {/' ./internal/line TestTheEndIsNotPutOffWhereNothingIsConsumed
sabotage "take a half-close that crossed the end for the close" internal/tcpserver/close.go \
	's/return v.state == lastAck .*/return false }/' ./internal/line TestAHalfCloseThatCrossesTheEndConsumesNothing
sabotage "take a half-close with bytes unread for the close" internal/tcpserver/close.go \
	's/return v.scaled .*/return false/' ./internal/line TestHalfClosingAtTheEndWithMuchUnreadConsumesNothing
sabotage "leave the deadline of a write that had to wait" internal/tcpserver/tcp_linux.go \
	's/if w.waits {/if false {/' ./internal/tcpserver TestTheTimeOfAWriteEndsNoLaterOne
sabotage "take the end of a TLS connection for a close_notify" internal/tcpserver/tls_linux.go \
	's/return 0, errAborted/return 0, io.EOF/' ./internal/tcpserver TestAnEndWithoutCloseNotifyIsAnAbort
sabotage "lose what the socket does not take of a record" internal/tcpserver/tls_linux.go \
	's/r.kept = append(r.kept, rest...)/_ = rest/' ./internal/tcpserver TestAWriteThatTimedOutGoesOn
sabotage "write each record of TLS by itself" internal/tcpserver/tls_linux.go \
	's/if len(p) <= recordSize .*/if true {/' ./internal/tcpserver TestTheRecordsOfAWriteGoTogether
sabotage "read each record of TLS by itself" internal/tcpserver/tls_linux.go \
	's/i < maxRecords \&\& n < len(p)/false/' ./internal/tcpserver TestAReadGetsTheRecordsThatHaveCome
sabotage "read as many records of TLS as come" internal/tcpserver/tls_linux.go \
	's/i < maxRecords \&\&/true \&\&/' ./internal/tcpserver TestAReadGetsSoManyRecordsAtMost
sabotage "let the buffer of a batch grow as it is filled" internal/publish/batch.go \
	's/b.Grow(min(size, MaxAppend))/_ = 0/' ./internal/publish TestABuilderHasSpaceForTheMessagesThatAreExpected
sabotage "keep the buffer of a TLS connection that stalls" internal/tcpserver/tls_linux.go \
	's/c.records.shrink()/_ = 0/' ./internal/tcpserver TestAConnectionThatWaitsHoldsNoBufferForRecords
sabotage "serve clients without TLS off loopback" internal/tcpserver/arrival_linux.go \
	's/a.seat.place.refused = ErrPlain/_ = ErrPlain/' ./internal/tcpserver TestOffLoopbackOnlyTLSIsServed
sabotage "use a new certificate that has expired" internal/tcpserver/certificates.go \
	's/ \&\& !now.After(leaf.NotAfter)//' ./internal/tcpserver TestCertificatesAreReplacedUnderClientsAndBadOnesAreNot
sabotage "never load a certificate that was not valid yet" internal/tcpserver/certificates.go \
	's/c.due = begin$/_ = begin/' ./internal/tcpserver TestACertificateThatIsNotValidYetIsLoadedLater
sabotage "take any number of connections from one address" internal/tcpserver/places.go \
	's/of.open >= p.limits.PerAddress/false/' ./internal/tcpserver TestConnectionsOfOneAddressAreLimited
sabotage "have a turn while a handshake waits for its peer" internal/tcpserver/handshake_linux.go \
	'/) pause(/,/^}/ { s/r.turn.Pause()/_ = 0/; s/r.turn.Resume()/_ = 0/; }' ./internal/tcpserver TestAHandshakeThatDoesNotComeHoldsUpNobody
sabotage "compute the handshake of a client that has left" internal/tcpserver/arrival_linux.go \
	's/case a.HasLeft():/case false:/' ./internal/tcpserver TestAHandshakeOfAClientThatHasLeftIsNotComputed
sabotage "accept connections that send nothing" internal/tcpserver/arrival_linux.go \
	's/unix.TCP_DEFER_ACCEPT, int(silence.time.Second)/unix.TCP_DEFER_ACCEPT, 0/' ./internal/tcpserver TestAConnectionThatSendsNothingIsNotAccepted
sabotage "hand out turns as if nobody worked" internal/turns/crowd.go \
	's/return 1 + .*/return 1/' ./internal/turns TestTurnsTakeLessInACrowd
sabotage "serve an address that floods before all others" internal/turns/turns.go \
	's/^		l.order = append(l.order, from)/		l.order = append([]netip.Prefix{from}, l.order...)/' ./internal/turns TestAddressesTakeTurns
sabotage "take any processor time for handshakes and passwords" internal/turns/turns.go \
	's/l.credit -= min(now.Sub(t.began), max(l.credit, 0)+debt)/_ = now/' ./internal/turns TestATurnWaitsForCredit
sabotage "take more processor time where there are many processors" internal/turns/turns.go \
	's/l.credit -= min(now.Sub(t.began), max(l.credit, 0)+debt)/l.credit = max(l.credit-now.Sub(t.began), -debt)/' ./internal/turns TestEachOfManyTurnsIsPaidFor
sabotage "have others pay for a turn that stood still" internal/turns/turns.go \
	's/min(now.Sub(t.began), max(l.credit, 0)+debt)/now.Sub(t.began)/' ./internal/turns TestATurnThatStoodStillIsNotPaidForByOthers
sabotage "take what a lost worker had for consumed" internal/group/member.go \
	's/l.pos.release(m, m.through(l.pos, l.Span), l.Len())/l.pos.consume(m, m.through(l.pos, l.Span))/' ./internal/line TestPromisesToRandomWorkers
sabotage "keep nothing of what is consumed out of turn" internal/group/leases.go \
	's/if x.by == nil \&\& len(all) < most/if false/' ./internal/line TestPromisesToRandomWorkers
sabotage "tell of a deletion as of a stop" internal/delivery/code.go \
	's/{broker.ErrDeleted, "GONE"},/{broker.ErrDeleted, "SHUTDOWN"},/' ./internal/line TestReadersWithMoreToComeHearOfADeletion
sabotage "tell of a deletion to those only that read" internal/delivery/session.go \
	's/if err := s.sub.deleted(); err != nil {/if err := error(nil); err != nil {/' ./internal/line TestFollowersThatWaitForSomethingElseHearOfADeletion
sabotage "let a killed consumer close in good order" internal/client/dial.go \
	's/err := c.resetOnClose(true)/err := c.resetOnClose(false)/' ./test/programs TestConsumerKilledBeforeItsOutputWasTakenHasConsumedNothing
sabotage "leave messages that come again in a file that was moved" cmd/consumer/rotate.go \
	's/f.Truncate(size)/error(nil)/' ./cmd/consumer TestFileIsRotatedBetweenTwoRuns
sabotage "go on with a position of another topic" cmd/consumer/topic.go \
	's/if began \&\& t.id/if false \&\& t.id/' ./cmd/consumer TestFileIsOfOneTopicNotOfItsName
sabotage "acknowledge what nobody has read out of the pipe" cmd/consumer/pipe.go \
	's/p.written-p.unread()/p.written/' ./cmd/consumer TestFollowAcknowledgesWhatTheReaderOfItsPipeHasTaken
sabotage "acknowledge a message whose command failed" cmd/consumer/executor.go \
	's/return e.fail(conn, n, m, state.String())/conn.Ack(n); return nil/' ./cmd/consumer TestCommandThatFailsHasItsMessageComeAgain
sabotage "note a delayed message before its topic is synced" internal/schedule/deliver.go \
	's/d.to.Sync(func(err error) { p.durable <- err })/p.durable <- error(nil)/' ./internal/broker TestIntervalSyncNotesADelayedMessageWhenItsTopicIsSynced
sabotage "delay a message for a topic that was deleted" internal/broker/partition.go \
	'/) exists() bool {/,/^}/ s/return err == nil/return err == nil || true/' ./internal/broker TestADelayedMessageForADeletedTopicIsRefusedAsOthersAre
sabotage "let a delayed message be acknowledged after its topic was deleted" internal/broker/delaywrite.go \
	's/h.err == nil \&\& !h.refused \&\& !h.p.exists()/false/' ./internal/broker TestADelayedMessageWhoseTopicIsDeletedBeforeTheAnswerIsRefused
clock=internal/broker/clock.go
sabotage "deliver by a clock that is wrong for a moment" $clock \
	's/return c.wallAt.Add(-c.ahead(believeAfter, false))/return c.wallAt/' ./test/fault TestF20WrongClockForAMomentNeitherDeliversNorStamps
sabotage "remove by a clock that is wrong for a moment" $clock \
	's/c.ahead(keep, true)/c.ahead(0, true)/' ./test/fault TestF20JumpingClockRemovesNothing
sabotage "remove by a clock that is wrong at the start" internal/broker/clocknote.go \
	's/case down > clockStep:/case false:/' ./internal/broker TestAStartByAWrongClockRemovesNothing
sabotage "follow a clock that is not set" $clock \
	's/if wall.Before(software) {/if false {/' ./internal/broker TestClockThatIsNotSetIsNotFollowed
sabotage "believe a header's latest time" internal/broker/broker.go \
	's/p.SetMaxTimestamp(latest)/_ = latest/' ./internal/kafka TestSearchesByTimeGoByTheRecords
sabotage "remove what a group that leases has not consumed" internal/broker/retention.go \
	's/r.Keep = unread\[0\].Offset/_ = unread/' ./internal/line TestUnreadMessagesAreKeptLongerAndTheirLossIsTold
sabotage "keep messages for Kafka's groups" internal/group/unread.go \
	's/(!k.info.assigned || p.leases.leasedToAny()) \&\& //' ./internal/broker TestWhatNobodyOrOnlyAKafkaGroupReadsGoesByAge
sabotage "hold back where a group is one of Kafka clients" internal/broker/retention.go \
	's/!in\[i\] \&\& !has(k)/!in[i]/' ./internal/broker TestAGroupHoldsBackThePartitionsThatItLeases
sabotage "remove what was consumed by positions that are not durable" internal/broker/retention.go \
	's/	r.offsets.awaitDurable()$/	_ = r/' ./internal/broker TestRetentionRemovesWhatIsDurablyConsumed
sabotage "note a jump of the clock later" internal/broker/clocknote.go \
	's/if k.atOnce > 0 {/if false {/' ./internal/broker TestNoClockRemovesWhatWasPublishedAMomentAgo
sabotage "use the time after a jump before that is noted" $clock \
	's/^\t\t<-noting$/\t\t_ = noting/' ./internal/broker TestNobodyGetsATimeAfterAJumpBeforeTheJumpIsNoted
sabotage "forget of what kind a position is" internal/group/record.go \
	's/s.Assigned, r.bad = kind == 1, kind > 1/r.bad = kind > 1/' ./internal/broker TestAGroupThatIsUsedInAnotherWayHoldsBackAsThatDoes
sabotage "start in silence on a copy whose index is newer than its segment" internal/commitlog/lost.go \
	's/return end.pos != m.pos/return end.pos < 0/' ./internal/commitlog TestCopyOfAnIndexThatIsNewerThanThatOfItsSegment
sabotage "believe a log start that is newer than its log" internal/commitlog/recover.go \
	's/if reached >= r.startEnd ||/if reached >= 0 ||/' ./internal/commitlog TestCopyOfALogStartThatIsNewerThanThatOfItsSegment
sabotage "take a note of a delivery for the message" internal/schedule/arrival.go \
	's/a.end = int64(/a.end = 0 \& int64(/' ./internal/broker TestDelayedMessagesThatAreNotInTheCopyOfTheirTopicComeAgain
sabotage "tell Kafka clients a name for the address they came in on" internal/kafka/address.go \
	's/return local.AddrPort().Addr().Unmap().String(),/return "localhost",/' ./internal/kafka TestClientsGetTheAddressOnWhichTheyWereAccepted
sabotage "take a deletion for a stop" internal/commitlog/topics.go \
	's/l.close(store.ErrDeleted)/l.close(store.ErrClosed)/' ./internal/commitlog TestConformsOnFiles
sabotage "keep a request for the name of its group" internal/kafka/11_join_group.go \
	's/c.conn.inGroup(name)/c.conn.group.Store(\&req.Group)/' ./internal/kafka TestConnectionsKeepNoRequests
sabotage "let a client be a member without asking for access" internal/kafka/groups.go \
	's/return c.conn.view.Allow(broker.Read, broker.GroupResource, name)/return nil/' ./internal/kafka TestEachRequestAsksForAccess
sabotage "produce without asking for access" internal/kafka/00_produce.go \
	's/firstProduceByID, broker.Write)/firstProduceByID, broker.Describe)/' ./internal/kafka TestEachRequestAsksForAccess
sabotage "show users to those who may look at the broker only" internal/broker/viewusers.go \
	's/v.Allow(Alter, ClusterResource/v.Allow(Describe, ClusterResource/' ./internal/broker TestUsersMayDoWhatTheirPermissionsSay
sabotage "log what a page does not show as refused" internal/web/pageusers.go \
	's/return broker.May(c.view, access, kind, name) }/return c.view.Allow(access, kind, name) == nil }/' ./internal/web TestABrowserLogsInByTheForm
sabotage "show topics of a group's members to all who see the group" internal/broker/viewgroups.go \
	's/if !May(v, Describe, TopicResource, all\[i\].Topic) {/if false {/' ./internal/broker TestMembersOfAGroupDoNotShowHiddenTopics
sabotage "show ACLs to all clients" internal/kafka/29_describe_acls.go \
	's#^\t"mbus/internal/auth"#&\n\t"mbus/internal/broker"#; s/users, err := c.conn.view.UserEditor()/users, err := c.server.broker.As(broker.Self).UserEditor()/' ./internal/kafka TestEachRequestAsksForAccess
sabotage "take permissions away by a filter that is refused" internal/kafka/31_delete_acls.go \
	's/if _, _, err := losses(f, &list\[i\]); err != nil/& \&\& false/' ./internal/kafka TestAFilterForAPartOfAdminDeletesNothing
sabotage "serve Kafka clients that have not logged in" internal/kafka/session.go \
	's/case key == int16(kmsg.ApiVersions), s.identity.Load() != nil:/case key == int16(kmsg.ApiVersions), key != 0:/' ./internal/kafka TestBeforeALogInThereIsNothingButALogIn
sabotage "take any password of a Kafka client" internal/kafka/36_sasl_authenticate.go \
	'/plainLogin(u, message, s.client)/,/}/ s/if err != nil/if err == errPlain/' ./internal/kafka TestAFailedLogInSaysNothingOfTheUser
sabotage "keep connections of users that are deleted" internal/kafka/session.go \
	's/return !users.IsValid(\*id, now)/return false/' ./internal/kafka TestConnectionsEndWithTheirUsers
sabotage "wait without end for a Kafka client to log in" internal/kafka/session.go \
	's/return users.Any() \&\& now.Sub/return false \&\& now.Sub/' ./internal/kafka TestALogInHasATime
sabotage "cut off a Kafka client that needs no log-in" internal/kafka/session.go \
	's/return users.Any() \&\& now.Sub/return now.Sub/' ./internal/kafka TestALogInHasATime
sabotage "cut off a Kafka client that has logged in, after the time for that" internal/kafka/session.go \
	's/return !users.IsValid(\*id, now)$/& || now.Sub(of.began) > s.broker.Limits.RequestTime/' ./internal/kafka TestALogInHasATime
sabotage "take a variable that describes a service for a flag" internal/flags/flags.go \
	's/service.MatchString(v)/service.MatchString("")/' ./internal/flags TestVariablesOfServicesAreNotFlags
sabotage "begin with partition 0 each time" internal/delivery/subscription.go \
	's/s.next = p.number + 1/s.next = 0/' ./internal/line TestNoPartitionWaitsForAnotherToBeEmpty
sabotage "forget which partition is next for a group" internal/delivery/subscription.go \
	's/	p.pos.Served()$/	_ = p/' ./internal/line TestNoFreeMessageWaitsForMoreThanARound
sabotage "lose the wake of a member that leaves" internal/group/wait.go \
	'/) Close() {/,/^}/ s/	w.PassOn()$//' ./internal/group TestSimulatedClientsLoseNothingAndShareNothing
sabotage "come to rest without a last look" internal/group/wait.go \
	'/) await(/,/^}/ s/w.pos.unlockAndWake()/w.pos.mu.Unlock()/' ./internal/group TestSimulatedClientsLoseNothingAndShareNothing
sabotage "wake nobody for what a log has lost" internal/group/removed.go \
	's/p.finish(true)/p.finish(false)/' ./internal/group TestWhatIsMissingFreesWhatIsBehindAllThatMayWait
sabotage "wake everybody for a message" internal/group/wait.go \
	's/^			return x$/			x.wake()/' ./internal/group TestAMessageWakesOneOfThoseThatWait
sabotage "serve what was deleted from what is left of a batch" internal/delivery/leftovers.go \
	's/offset < start {/offset < start \&\& false {/' ./internal/line TestWhatWasTrimmedDoesNotComeFromWhatIsLeft
sabotage "read a large batch for each message" internal/delivery/loader.go \
	's/if b := l.hub.leftovers.find(log, offset, to); b != nil {/if b := l.hub.leftovers.find(log, offset, to); b != nil \&\& false {/' ./internal/line TestALargeBatchIsNotReadForEachMessage
sabotage "count no attempt where a message kills its worker" internal/group/member.go \
	's/f, ok = m.fail(0, m.sent\[0\].From, r, now)/_ = now/' ./test/fault TestF41MessagesThatKillTheirWorkers
sabotage "count an attempt where a worker leaves in good order" internal/line/consumer.go \
	's/lost := isLoss(sent) || /lost := true || /' ./internal/line TestAnEndInGoodOrderIsNoAttempt
sabotage "count two failures of a client that hangs and is lost" internal/delivery/session.go \
	's/if !s.options.Ack || s.deadline.hasExpired() {/if false {/' ./internal/delivery TestAClientThatHangsIsNotLostAsWell
sabotage "keep a batch in memory while its reader stalls" internal/delivery/sender.go \
	'/) stall() {/,/^}/ s/s.unload()//' ./internal/delivery TestAStalledReaderHoldsNoBatch
sabotage "keep a reference to a batch while its reader stalls" internal/delivery/sender.go \
	's/s.messages.Batch = nil/_ = s.messages/' ./internal/delivery TestAStalledReaderHoldsNoBatch
sabotage "send partitions that were not asked for" internal/delivery/subscription.go \
	's/if s.options.Partitions != nil \&\& !slices/if false \&\& !slices/' ./internal/delivery TestOfSomePartitionsNothingElseIsSent
sabotage "take a client that is at work for one that hangs" internal/delivery/acks.go \
	'/) Ack(n uint64)/,/^}/ s/s.Extend()//' ./internal/delivery TestAHeartbeatGivesTheClientItsTimeAgain
sabotage "acknowledge all up to the one" internal/group/member.go \
	's/s.From += int64(first - l.first)/s.From += 0/' ./internal/group TestSimulatedClientsLoseNothingAndShareNothing
sabotage "send on what has changed while a reader stalled" internal/delivery/sender.go \
	's/ || again.records != s.sub.member.Records(p.pos, again.Span) {/ || again.records < 0 {/' ./internal/delivery TestWhatIsCompactedWhileAReaderStallsHasNoNumber
sabotage "give to others what is given back at a stop" internal/delivery/sender.go \
	's/return s.follows \&\& s.loader/return false \&\& s.loader/' ./internal/delivery TestNothingGoesToOthersWhileTheHubStops
sabotage "forget the holes behind records" internal/group/member.go \
	's/if len(m.holes) > 0 {/if false {/' ./internal/group TestSimulatedClientsLoseNothingAndShareNothing
sabotage "store numbered messages whenever they come" internal/broker/stream.go \
	's/return number <= s.end \&\& s.before.has(number-1, place)/return false/' ./internal/line TestNumberedMessagesAreStoredOnceOverCrashes
sabotage "go on with a stream before it is known what is stored" internal/broker/stream.go \
	's/for st.pending > 0 \&\& st.owner == me {/for false {/' ./internal/line TestWhatAConnectionHasOnItsWayIsKnownToTheNext
sabotage "forget the numbers of messages that wait" internal/broker/streams.go \
	's/s.adopt(b.waitingOf(t))/_ = b/' ./internal/line TestNumberedMessagesAreStoredOnceOverCrashes
sabotage "begin a stream of a topic that was made anew" internal/broker/stream.go \
	's/if !ok \&\& whole \&\& r.First > 1/if !ok \&\& whole \&\& r.First < 0/' ./internal/line TestAStreamOfATopicThatWasMadeAnewIsNotBegunAgain
sabotage "lose what was not acknowledged" internal/client/producer_backlog.go \
	's/q.chunks\[done\].last <= n; done++/q.chunks[done].first <= n+1; done++/' ./internal/client TestWhatIsNotAcknowledgedIsSentAgain
sabotage "consume by HTTP what was not confirmed" internal/web/consumer.go \
	's/if err := confirm(); err != nil {/if err := confirm(); err == errStopping {/' ./internal/web TestClientsThatEndInAnyWayLoseNothing
sabotage "take a half of an answer by HTTP for all" internal/tcpserver/close.go \
	'/^func confirmLast/,/^}/ s/if err := awaitAcknowledged(c, t.Acknowledge); err != nil {/if early {/' ./internal/web TestClientThatClosesBeforeTheLastChunkConsumesNothing
sabotage "end a stream that is cut off as if it was complete" internal/web/consumer.go \
	's/tcpserver.WriteLast(k.conn.net, "", k.conn.writeTime)/return k.complete(delivery.Stopping)/' ./internal/web TestEndOfTheTopicUnderAFollower
sabotage "resume events in one partition" internal/web/consumeresume.go \
	's/k.sink.places.set(i, at)/_ = at/' ./internal/web TestEventsFromTheEndResumeInEveryPartition
sabotage "resume a group where it is" internal/web/consumeresume.go \
	's/k.again = again/_ = again/' ./internal/web TestGroupResumesBehindTheLastEventThatItsClientHasSeen
sabotage "tell of a gap that was not shown" internal/delivery/session.go \
	's/s.complete(why == Complete)/s.complete(true)/' ./internal/web TestDrainEndsBeforeAGap
sabotage "serve HTTP clients that have not logged in" internal/web/operation.go \
	's/if err = logIn(c); err != nil {/if err = logIn(c); err == errStopping {/' ./internal/web TestEachOperationNeedsItsPermissions
sabotage "keep a session when its user is not valid any more" internal/web/sessions.go \
	's/ || !users.IsValid(s.identity, now)//' ./internal/web TestAConnectionEndsWithItsUser
sabotage "take a cookie that others may have read" internal/web/sessions.go \
	's/ || !c.conn.client.IsPrivate {/ {/' ./internal/web TestWhereACookieCounts
sabotage "take a cookie from another machine that others can set" internal/web/sessions.go \
	's/if !isFromHere(c) {/if false {/' ./internal/web TestWhereACookieCounts
sabotage "let the requests of a connection be those of its first user" internal/web/plainserve.go \
	's/subtle.ConstantTimeCompare(authorization, p.said) == 1/subtle.ConstantTimeCompare(authorization, p.said) < 2/' ./internal/web TestPlainRequestsNeedAUser
sabotage "leave publishes with a password to net/http" internal/web/login.go \
	's/case client.IsPrivate && strings.EqualFold(scheme, "Basic"):/case client.IsPrivate \&\& len(scheme) > 999:/' ./internal/web TestPlainRequestsOfUsersAreAnsweredAsByNetHTTP
sabotage "let any site have a browser change something" internal/web/operation.go \
	's/if c.op.changes {/if false {/' ./internal/web TestEachChangeIsGuarded
sabotage "let an image of any site consume" internal/web/guard.go \
	's/case !isProven(r):/case false:/' ./internal/web TestGuardOfOrigins
sabotage "let a link in a mail consume" internal/web/consume.go \
	's/checkNavigation(c.r); err != nil {/checkNavigation(c.r); false {/' ./internal/web TestNothingIsConsumedAhead
sabotage "take a path that is not clean for another one" internal/web/operation.go \
	's/if op == nil || !fits(.*) {/if op == nil {/' ./internal/web TestHostileRequests
sabotage "take each name of a client for the broker's" internal/tcpserver/tls_linux.go \
	's/pair.Leaf.VerifyHostname(name) == nil/true/' ./internal/tcpserver TestServerNameIsOneOfTheCertificate
sabotage "take a request for any host over TLS" internal/web/guard.go \
	's/return own != "" \&\& strings.EqualFold.*/return own != ""/' ./internal/web TestHostOfTheCertificateIsOwn
sabotage "show commands that do not log in" internal/web/pageformat.go \
	's/flags += " -user " + units.Quoted(p.User)/_ = p.User/' ./internal/web TestCommandsLogIn
sabotage "call a broker ready that can't publish" internal/web/health.go \
	's/case !p.Grave ||/case p.Grave ||/' ./internal/web TestHealthSaysWhatIsWrong
sabotage "have series without a bound" internal/web/metrics.go \
	's/n > c.server.series/n < 0/' ./internal/web TestSeriesAreBounded
sabotage "forget when a lease has begun" internal/delivery/leasesink.go \
	's/since: s.expires.Add(-s.request.want.For), //' ./internal/web TestMetricsOfLeases
sabotage "look at all groups for each view that is open" internal/web/pagesurvey.go \
	's/s == nil || fresh/s == nil || true/' ./internal/web TestOpenViewsShareASurvey
sabotage "rename a metric that the dashboard asks for" internal/web/metrics_groups.go \
	's/"mbus_group_lag_messages"/"mbus_group_lag"/' ./internal/web TestEachQueryOfTheDashboardFindsSeries
sabotage "count a damaged place each time that it is read" internal/commitlog/damage.go \
	's/known || len/known \&\& false || len/' ./internal/commitlog TestFlippedBitCostsThatBatchOnly
sabotage "serve profiles to everybody" internal/web/profile.go \
	's/if !c.server.opts.Debug {/if false {/' ./internal/web TestProfilesWithDebugOnly
sabotage "do what the page only previews" internal/web/pagechange.go \
	's/switch typed := field(c, "confirm"); typed {/switch typed := ch.Name; typed {/' ./internal/web TestChangesAreShownFirstAndAskForTheName
sabotage "show messages as markup" internal/web/pageassets.go \
	's|"html/template"|"text/template"|' ./internal/web TestPagesHaveNoInlineCodeAndEscapeAll
sabotage "say what a link of another site says" internal/web/page.go \
	's/if site := .*; site != "same-origin".*{/if false {/' ./internal/web TestWhatWasDoneIsSaidToThePageOnly
sabotage "offer dead letters that were redriven" internal/group/held.go \
	'/) IsConsumed(/,/^}/ s/|| i < len/|| i < -len/' ./internal/web TestLettersThatAreLeftAreShownAndOthersAreDone
sabotage "send numbers of the page that have not changed" internal/web/pagenumbers.go \
	's/if slices.Equal(s.sent\[key\], row) {/if slices.Equal(nil, row) {/' ./internal/web TestNumbersStreamSendsWhatHasChanged
sabotage "move the oldest dead letter for the selected one" internal/delivery/letters.go \
	's/group.Span{From: at.Offset, To: at.Offset + 1}/group.Span{From: 0, To: 1}/' ./internal/web TestDeadLettersAreRedrivenAndDiscarded
sabotage "settle a delivery with the token of an earlier one" internal/delivery/leaseholder.go \
	's/h := p.held\[n.place.number\]/h := p.held[p.sub.member.Oldest()]/' ./internal/delivery TestATokenOfAnExpiredLeaseSettlesNoOther
sabotage "take tokens of other groups" internal/delivery/leasetoken.go \
	's/hmac.Equal(s\[:\], want\[:\])/want != seal{}/' ./internal/delivery TestATokenIsOfItsGroupTopicAndLife
sabotage "answer an acknowledgement before it is durable" internal/delivery/lease.go \
	'/) AckTokens(/,/^}/ s/return ended, forClient(h.broker.AwaitPositions())/return ended, nil/' ./internal/delivery TestLeasesAgreeWithAModel
sabotage "give back a message whose lease has expired, as if nothing had failed" internal/delivery/leaseheap.go \
	's/p.fail(h, h.retry, "ack-timeout", func() {})/p.sub.member.Return(h.number)/' ./internal/delivery TestLeasesAgreeWithAModel
sabotage "keep a wake that no waiting request uses" internal/delivery/leaseholder.go \
	'/) exit(r/,/^}/ s/p.sub.waiter.Busy()/_ = left/' ./internal/delivery TestAMessageGoesToAConsumerWhenNoRequestWaits
sabotage "change a topic in a preview" internal/web/admin.go \
	's/if !execute {/if !execute \&\& false {/' ./internal/web TestTopicsAreMadeChangedAndDeleted
sabotage "redrive more letters than were asked for" internal/web/adminletters.go \
	's/if l.N, err = c.number/if _, err = c.number/' ./internal/web TestLettersAreRedrivenAndDiscarded
sabotage "describe answers that do not come" internal/web/openapi.go \
	's/!strings.Contains(options, "omitempty")/true/' ./internal/web TestEachOperationOfTheOpenAPIDocumentAnswersAsItSays
sabotage "close another connection" internal/tcpserver/connections.go \
	's/if of.id == id {/if of.id != id {/' ./internal/line TestConnectionsAreShownAndClosed
sabotage "take a request with two hosts for a plain one" internal/web/plain.go \
	's/return isFirst && isPlainHost(value)/return (isFirst || true) \&\& isPlainHost(value)/' ./internal/web FuzzPlainRequest
sabotage "lose what was read before net/http goes on" internal/web/conn.go \
	's/n := c.readAgain(p); n > 0/n := c.readAgain(p); n < 0/' ./internal/web TestPlainRequestsInPiecesAndAmongOthers
sabotage "say nothing of the stop in the answer to a plain request" internal/web/plainserve.go \
	's/isLast := p.server.isStopping()/isLast := false/' ./internal/web TestAStopUnderAPlainRequest
sabotage "keep memory of a request that nobody has read" internal/web/server.go \
	's/defer c.free()/_ = c.free/' ./internal/web TestMemoryOfPlainRequestsIsGivenBack
sabotage "publish half a line of a body that was cut" internal/web/publish_many.go \
	's/m.ended == io.EOF && len(in) > 0/m.ended != nil \&\& len(in) > 0/; s/!errors.Is(err, io.EOF)/false \&\& !errors.Is(err, io.EOF)/' ./internal/web TestTheLastLineOfABodyThatIsCut
sabotage "publish a key again after a restart" internal/broker/once.go \
	's/if isKeyed(b) {/if false {/' ./internal/web TestAKeyIsKnownAfterAKill
sabotage "publish twice what comes twice at once" internal/broker/once.go \
	's/if other == nil {/if true {/' ./internal/web TestPublishesOfOneKeyAtOnce
sabotage "count messages behind one that failed" internal/publish/progress.go \
	's/p.ended || p.pending\[0\].failed/false/' ./internal/web TestTheAnswerCountsOnlyWhatIsOnDisk
sabotage "read a body that says that it is too long" internal/web/publish_body.go \
	's/if b.c.r.ContentLength > int64(b.limit) {/if false {/' ./internal/web TestABodyThatIsTooLong
sabotage "try a key again in another partition" internal/web/publish.go \
	's/case m.once != "":/case m.once == "never":/' ./internal/web TestAKeyThatFailedGoesToTheSamePartition
sabotage "take any number of members of an event" internal/message/cloudeventin.go \
	's/len(members) > maxMembers/len(members) < 0/' ./internal/web TestCloudEventsOfManyParts
sabotage "take a log that gives nothing for one that has ended" internal/store/walk.go \
	's/if offset < high {/if false {/' ./internal/store TestAWalkThatGetsNothingBelowTheHighWatermarkHasNotEnded
sabotage "forget idempotency keys in a kill" internal/broker/once.go \
	's/if isKeyed(b) {/if false {/' ./test/fault TestF44HTTPPublishersOverKills
sabotage "publish a body of many messages again after a kill" internal/broker/streams.go \
	's/if p.ID <= 0 || isKeyed(b) {/if true {/' ./test/fault TestF44HTTPPublishersOverKills
sabotage "take tokens of before a kill" internal/delivery/leasetoken.go \
	's/hmac.Equal(s\[:\], want\[:\])/want != seal{}/' ./test/fault TestF45TokensOfBeforeAKill
sabotage "answer an acknowledgement over HTTP before it is durable" internal/delivery/lease.go \
	'/) AckTokens(/,/^}/ s/return ended, forClient(h.broker.AwaitPositions())/return ended, nil/' ./test/fault TestF45HTTPLeasesOverKills
sabotage "consume by HTTP what a client that was killed has not read" internal/web/consumer.go \
	's/if err := confirm(); err != nil {/if err := confirm(); err == errStopping {/' ./test/fault TestF48KilledHTTPDrainConsumesNothing
sabotage "leave a goroutine behind each HTTP connection" internal/web/server.go \
	's/		<-c.ended$/		<-c.ended; go func() { select {} }()/' ./internal/web TestNoGoroutineIsLeftOfAConnection
sabotage "say nothing of a full disk to HTTP clients" internal/web/problem.go \
	's/http.StatusInsufficientStorage/http.StatusInternalServerError/' ./test/fault TestF46HTTPOnAFullDisk
sabotage "stop without the positions that could not be written" internal/group/writer.go \
	'/) Flush() {/,/^}/ s/if len(w.changed) > 0 {/if false {/' ./internal/group TestPositionsAreWritten
sabotage "have a stop wait until the ends of logs are read" internal/broker/walk.go \
	's/^			return false, store.ErrClosed/			_ = store.ErrClosed/' ./internal/web TestAStopEndsTheReadingOfKeys
sabotage "set positions back whose log is not open yet" internal/broker/positionsload.go \
	's/if all\[partition\].Available() != nil {/if false {/' ./internal/broker TestAPositionInALogThatIsNotAvailableStays
sabotage "set a position back that is asked for while its log is not open yet" internal/broker/offsets.go \
	's/ \&\& all\[partition\].Available() == nil {/ {/' ./internal/broker TestAPositionInALogThatIsNotAvailableStays
sabotage "wait for a store that does not answer" internal/broker/leave.go \
	's/case <-ctx.Done():/case <-make(chan int):/' ./internal/broker TestABrokerLeavesAStoreThatDoesNotAnswer
sabotage "begin to move dead letters beside the end" internal/broker/leave.go \
	's/^	if !w.ended {/	if true {/; s/^	return !w.ended/	return true/' ./internal/broker TestNoWorkBeginsBesideTheEnd
sabotage "tell clients of a topic that has moved that it is gone" internal/delivery/code.go \
	's/{broker.ErrMoved, "SHUTDOWN"}/{broker.ErrMoved, "GONE"}/' ./internal/line TestATopicThatHasMovedIsNotGone
sabotage "have Kafka clients know of one node only" internal/kafka/nodes.go \
	's/	for _, n := range s.nodes.Live() {/	for _, n := range s.nodes.Live()[:1] {/' ./internal/kafka TestClientsGetAllNodesThatLive
sabotage "lead a partition whose log is not open" internal/kafka/nodes.go \
	's/err := log.Available(); err != nil/err := log.Available(); err == log.Available() \&\& err == broker.ErrClosed/' ./internal/kafka TestAPartitionThatIsNotAvailableHasNoLeader
sabotage "send to the next owner as to the first" internal/relay/session.go \
	's/c.request.isNew \&\& !c.sent)/c.request.isNew)/' ./internal/relay TestWhatIsStoredAndNotAcknowledgedIsStoredOnce
sabotage "number what is sent again from another number on" internal/relay/backlog.go \
	's/return b.acked + 1/return b.acked + 2/' ./internal/relay TestAProducerDoesNotNoticeAnotherOwner
sabotage "forget what a client has sent when it was sent" internal/relay/session.go \
	's/^		if c.passes {/		if true {/' ./internal/relay TestAProducerDoesNotNoticeAnotherOwner
sabotage "end batches where they do not end" internal/relay/backlog.go \
	's/m.offset += uint64(size)/m.offset += uint64(size) + 1/' ./internal/relay TestEachFormatGoesOnWithAnotherOwner
sabotage "pass on that one owner stops" internal/relay/session.go \
	's/case "-SHUTDOWN":/case "-NEVER":/' ./internal/relay TestAProducerDoesNotNoticeAnotherOwner
sabotage "keep all that a client sends while there is no owner" internal/relay/client.go \
	's/ahead >= aheadWindow/ahead < 0/; s/c.log.size() >= window/c.log.size() < 0/' ./internal/relay TestWhatANodeKeepsOfAClientIsBounded
sabotage "keep much of a client that has not logged in" internal/relay/client.go \
	's/!c.admitted \&\& c.log.size()/false \&\& c.log.size()/' ./internal/relay TestWhatANodeKeepsOfAClientIsBounded
sabotage "send old bytes after a freeze" internal/relay/client.go \
	's/case c.relay.freeze.IsOver():/case false:/' ./internal/relay TestAProcessThatWasFrozenForwardsNothing
sabotage "send a request again that may not come twice" internal/gate/exchange.go \
	's/r.Header.Get(headerOnce) != ""/r.Host != ""/' ./internal/gate TestARequestThatMayNotComeTwiceIsSentOnce
sabotage "take an answer of an owner that leaves for the last" internal/gate/exchange.go \
	's/bytes.Contains(answer, \[\]byte(`"code":"SHUTDOWN"`))/len(answer) < 0/' ./internal/gate TestAConnectionOutlivesTheOwner
sabotage "count as read what lies between two connections" internal/gate/client.go \
	's/return isTopic \&\& strings.TrimSuffix(what, "\/") == "messages"/return isTopic \&\& what == "never"/' ./internal/gate TestConsumersHaveTheirConnection
sabotage "have the owner answer for the node" internal/gate/client.go \
	's/if h := c.local(r); h != nil {/if h := c.local(r); h != nil \&\& head < 0 {/' ./internal/gate TestEachRequestIsJudgedByItself
sabotage "show the cluster to clients that may not see it" internal/web/node.go \
	's/case answer.StatusCode == http.StatusOK:/case answer.StatusCode > 0:/' ./internal/web TestTheOwnerDecidesWhatANodeShows
sabotage "show the cluster to everybody while there is no owner" internal/web/node.go \
	's/if c.client.RemoteAddrPort().Addr().IsLoopback() {/if true {/' ./internal/web TestTheOwnerDecidesWhatANodeShows
sabotage "be ready without an owner" internal/web/node.go \
	's/if c.report(c.r).Owner == 0 \&\& /if false \&\& /' ./internal/web TestANodeSaysThatThereIsNoOwner
sabotage "look for what producers had stored among what came later" internal/broker/walk.go \
	's/min(size, most)+max(0, p.log.Size()-p.opened.size)/min(size, most)/' ./internal/broker TestALimitedTailIsThatOfBeforeTheBroker
sabotage "learn from appends only that the disk is full" internal/commitlog/health.go \
	's/^	r.measure(1)$//' ./internal/commitlog TestHealthMeasuresTheSpaceWithoutAnAppend
sabotage "take another event for the one of an idempotency key" internal/web/publish.go \
	's/ && m.hasHeaders(r)$//' ./internal/web TestAKeyIsForOneMessage
sabotage "answer what is no HTTP without a problem document" internal/web/conn.go \
	's/if !c.serves {/if false {/' ./internal/web TestHostileRequests
sabotage "keep the request line of each HTTP follower" internal/web/operation.go \
	's/strings.Clone(v)/v/' ./internal/web TestMemoryOfAFollower
sabotage "begin anew for a client that says what it has seen" internal/web/consumeresume.go \
	'/) lastSeen() /,/^}/ s/if id == "" {/if true {/' ./test/fault TestF49HTTPEventsOverKills
security=cmd/broker/security.go
sabotage "forget TLS on one listener" $security \
	's/for _, to := range l.all() {/for _, to := range l.all()[:3] {/' ./test/programs TestAllPortsSpeakTLS
sabotage "listen without TLS where other machines reach it" $security \
	'/) protect(/,/^}/ s/at != nil \&\& !o.security.insecure/at != nil \&\& false/' ./test/programs TestBrokerRefusesToBeOpen
sabotage "listen without users where other machines reach it" $security \
	'/) checkUsers(/,/^}/ s/return o.checkExposed(l)/return nil/' ./test/programs TestBrokerRefusesToBeOpen
sabotage "name the commands for a half of what is missing only" cmd/broker/refuse.go \
	's/return !errors.Is(err, os.ErrNotExist)/& || true/' ./test/programs TestWhatTheBrokerSaysMakesItSecure
sabotage "keep connections of users who were deleted" $security \
	's/f.EndInvalid()/_ = f/' ./cmd/broker TestGuardEndsConnectionsAtEachChangeAndEachSecond
sabotage "keep connections whose tokens have expired" $security \
	's/expired = time.After(checkUsersEvery)/expired = nil/' ./cmd/broker TestGuardEndsConnectionsAtEachChangeAndEachSecond
sabotage "take a token that has expired" internal/auth/users.go \
	's/ || !id.expires.IsZero() \&\& !now.Before(id.expires)//' ./internal/auth TestPasswordsAndTokens
sabotage "take clients' certificates unverified" internal/tcpserver/certificates.go \
	's/tls.VerifyClientCertIfGiven/tls.RequestClientCert/' ./test/fault TestF53CertificatesOutOfTheirTime
sabotage "use a new certificate that is not valid yet" internal/tcpserver/certificates.go \
	's/!now.Before(leaf.NotBefore) \&\& //' ./internal/tcpserver TestACertificateThatIsNotValidYetIsLoadedLater
sabotage "have other users read the operator token" cmd/broker/operator.go \
	's/0o600/0o644/' ./test/programs TestOperatorTokenIsForItsUserAndItsRunOnly
sabotage "send the operator token to whatever listens" cmd/admin/operator.go \
	's/operator.TokenAt = .*/operator.Token = token/' ./cmd/admin TestAFalseListenerGetsNothingUsable
sabotage "take a proof of the operator token for another address" internal/auth/token.go \
	's/AddrPortFrom(at.Addr().Unmap(), at.Port())/AddrPortFrom(netip.Addr{}, 0)/' ./internal/auth TestTheOperatorTokenIsProvenToOneAddress
sabotage "delete the last user where other machines reach the broker" internal/auth/users.go \
	's/if e.keepLast \&\& len(all) == 1 {/if false {/' ./internal/auth TestLastUserCanNotBeDeletedWhereOthersReachTheBroker
sabotage "send credentials where others read them" cmd/admin/api.go \
	's/if err := b.CheckPrivate(conn); err != nil {/if false {/' ./cmd/admin TestUsersAreChangedInPrivateOnly
sabotage "show what is typed as a password" internal/flags/secret.go \
	's/hidden.Lflag \&^= unix.ECHO/_ = hidden/' ./internal/flags TestSecretIsNotShown
sabotage "overwrite a private key" cmd/admin/certificate.go \
	's/); err == nil {/); err == nil \&\& false {/; s/os.O_EXCL/os.O_TRUNC/' ./cmd/admin TestCertificateIsMadeOnce
login=internal/line/login.go
sabotage "take any password of AUTH" $login \
	's/return users.Password(.*)/return auth.Identity{Name: user}, nil/' ./internal/line TestLogins
sabotage "take a client that has not waited for a wrong password" $login \
	's/if errors.Is(err, auth.ErrLeft) {/if false {/' ./internal/line TestWhatEndsALoginHasACode
sabotage "serve lines without a log-in where there are users" $login \
	's/if users.Any() \&\& c.view.Allow(/if false \&\& c.view.Allow(/' ./internal/line TestEachRequestTakesItsPermissions
sabotage "leave followers of a user that was revoked" $login \
	's/if id := c.identity.Load(); id != nil \&\&/if id := c.identity.Load(); id != nil \&\& (c.use.Load() == nil || c.use.Load().Does != "follow") \&\&/' ./internal/line TestRevocationEndsConnections
sabotage "quote a line of AUTH that is wrong" $login \
	's/len(p) > verb \&\& bytes.EqualFold(p/len(p) > verb \&\& bytes.Equal(p/' ./internal/line TestSecretsAreNotShown
sabotage "fail what a revoked worker held" internal/line/consumer.go \
	's/ || k.conn.revoked.Load()//' ./internal/line TestRevocationEndsConnections
sabotage "say a close of TLS where a consumer is abandoned" internal/client/conn.go \
	'/) Close() /,/^}/ s/if c.resets {/if false {/' ./internal/client TestAConsumerOverTLSIsResetUntilItCommits
trail=internal/broker/trail.go
sabotage "count refusals without a line wrongly" $trail \
	's/t.leftOut++/t.leftOut += 2/' ./internal/broker TestAFloodOfRefusalsIsBoundedAndCounted
sabotage "log what may be a password in the place of a name" internal/broker/login.go \
	's/claim.User != c.Certificate \&\& !b.Users().Has(claim.User)/false/' ./internal/broker TestAFailedLogInIsInTheAuditTrail
sabotage "take what a list leaves out for a refusal" internal/broker/view.go \
	'/^func May(/,/^}/ s/return v.broker.may(v.principal, access, Resource{kind, name})/return v.Allow(access, kind, name) == nil/' ./internal/broker TestRefusalsAreInTheAuditTrail
sabotage "change users without a line in the audit trail" internal/broker/viewusers.go \
	's/editor.Reporting(auditUser(v)), nil/editor, nil/' ./internal/broker TestEachChangeIsInTheAuditTrailOnce
sabotage "compare the beginning of a password's key only" internal/auth/credential.go \
	's/ConstantTimeCompare(stored, c.StoredKey)/ConstantTimeCompare(stored[:16], c.StoredKey[:16])/' ./internal/auth TestEachByteOfASecretCounts
sabotage "compare the beginning of a proof only" internal/auth/scram.go \
	's/ConstantTimeCompare(m.storedKey(clientKey), e.credential.StoredKey)/ConstantTimeCompare(m.storedKey(clientKey)[:16], e.credential.StoredKey[:16])/' ./internal/auth TestEachByteOfASecretCounts
sabotage "answer sooner if there is no such user" internal/auth/credential.go \
	's/nobodys := u.nobodys(name, m)//; s/return nil, nobodys/return nil, u.nobodys(name, m)/' ./internal/auth TestAWrongUserCostsWhatAWrongPasswordDoes
sabotage "tell by the number of iterations which users there are" internal/auth/nobody.go \
	's/if len(ring) == 0 {/if true {/' ./internal/auth TestNobodysCredentialHasTheFormOfSomeUsers
sabotage "know a token by its beginning" internal/auth/token.go \
	's/\[\]byte(secret)/[]byte(secret[:min(len(secret), 40)])/' ./internal/auth TestEachByteOfATokenCounts
sabotage "have a change of users in force before it is on disk" internal/broker/userslog.go \
	's/l.log.AppendDurably(b.Bytes(), func(err error) { failed <- err })/go l.log.AppendDurably(b.Bytes(), func(error) {}); failed <- nil/' ./internal/broker TestPowerCutLosesNoChangeOfUsers
sabotage "start without users whose records are damaged" internal/broker/userslog.go \
	's/walk(l.log, start, stopAt, /walk(l.log, start, passOver, /' ./internal/broker TestDamageAmongTheUsersStopsTheStart
sabotage "trim the log of users before they are written once more" internal/broker/userslog.go \
	'/) compact() error/,/^}/ s/records, bytes := l.records, l.bytes/&; _ = l.log.Trim(start)/' ./internal/broker TestPowerCutDuringTheirCompactionLosesNoUser
sabotage "have a change of users in force that the disk refused" internal/auth/users.go \
	'/) Change(/,/^}/ s/if err := e.keep(name, record); err != nil {/if err := e.keep(name, record); err != nil \&\& false {/' ./internal/auth TestWhatIsNotDurableIsNotInForce
sabotage "leave a change of users in the log that failed" internal/auth/keep.go \
	's/e.uncertain = name/e.uncertain = ""/' ./internal/auth TestAChangeThatFailedIsNotInForceAfterARestart
sabotage "have users of all topics read the positions of all groups" internal/broker/view.go \
	's/ \&\& Internal(name) \&\& operation != auth.Describe {/ \&\& false {/' ./internal/broker TestTheBrokersOwnTopicsAreForItsAdministrators
key=internal/cluster/clusterkey
sabotage "take a cluster key that other users can read" $key/key.go \
	's/mode\&closed != 0/mode\&closed == 0o777/' ./$key TestReadTakesAFileThatIsItsUsersOnly
sabotage "let nodes in without the cluster key" $key/authority.go \
	's/tls.RequireAndVerifyClientCert/tls.RequireAnyClientCert/' ./$key TestAnotherKeyIsRefusedOnBothSidesAndExplained
sabotage "take a connection of links for a route" $key/authority.go \
	's/state.NegotiatedProtocol != string(u)/false/' ./$key TestRoutesAndLinksAreNotMistakenForEachOther
sabotage "show the cluster key in a log" $key/key.go \
	's/^func (k Key) Format(/func (k Key) Shape(/' ./$key TestFormatsDoNotShowTheSecret
sabotage "leave the file of a new cluster key open to others" cmd/admin/clusterkey.go \
	's/f.Chmod(0o600)/f.Chmod(0o644)/' ./cmd/admin TestNewKeyMakesAFileThatABrokerTakes
ownership=internal/cluster/ownership.go
members=internal/cluster/members.go
sabotage "take over when the engine says once that this node leads" $ownership \
	's/if leads \&\& led {/if leads \&\& (led || true) {/' ./internal/cluster TestLeadOfOneLookIsNoLead
sabotage "own the topics when another node leads" $ownership \
	's/if !o.engine.Leads() {/if false {/' ./internal/cluster TestOwnershipFollowsTheLead
sabotage "own the topics that another node has taken over" $ownership \
	's/case <-lost:/case <-chan struct{}(nil):/' ./internal/cluster TestLostStoreIsLeftAtOnceAndTakenAgain
sabotage "give clients time when the topics are lost" $ownership \
	's/if why != errStopping {/if false {/' ./internal/cluster TestOwnershipFollowsTheLead
sabotage "stop without another node that leads" $ownership \
	'/) run(ctx/,/^}/ s/if o.engine.Leads() {/if false {/' ./internal/cluster TestOwnershipFollowsTheLead
sabotage "believe an owner that has been replaced" $members \
	's/ \&\& k.Owns == r.latest {/ {/; s/if m.Owns > r.latest {/if m.Owns != 0 {/' ./internal/cluster TestRollKnowsWhoLivesAndWhoOwns
sabotage "remove a node without another in its place" internal/cluster/report.go \
	's/case current < r.Replicas:/case current < 0:/' ./internal/cluster TestANodeIsRemovedOnlyWhereTheOthersCanGoOn
sabotage "call a cluster healthy whose replicas lag" internal/cluster/report.go \
	's/of.State == Up \&\& !p.Current/false/' ./internal/cluster TestReportSaysWhatIsWrong
sabotage "exit with 0 from admin health though a node is gone" cmd/admin/nodes.go \
	's/if len(r.Problems) > 0 {/if len(r.Problems) > 9 {/' ./cmd/admin TestHealthIsAnExitCode
sabotage "wait for ever for a node of the same number" internal/jetstream/join.go \
	's/return now.Sub(t.last) <= twinPause/return now.IsZero()/' ./internal/jetstream TestATwinIsOneThatStays
sabotage "make a new cluster without all nodes" internal/jetstream/join.go \
	's/case len(others)+1 < total:/case len(others)+1 < 2:/' ./internal/jetstream TestEmptyNodesDoNotMakeANewCluster
sabotage "have an empty node vote while another one lags" internal/jetstream/join.go \
	's/\&\& (!p.Current || !answered\[p.Peer\])/\&\& false/' ./internal/jetstream TestDecideJoinsOneClusterOrWaits
sabotage "join with the directory of another cluster" internal/jetstream/join.go \
	's/case self.Cluster != "" \&\& a.Cluster != self.Cluster:/case false:/' ./internal/jetstream TestADirectoryOfAnotherClusterIsRefused
sabotage "use a directory that another process uses" internal/jetstream/directory.go \
	's/err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil/_ = syscall.Flock; err != nil/' ./internal/jetstream TestStartRefusesDirectories
sabotage "believe that a change of the catalog is refused" internal/jetstream/meta.go \
	's/case by == write:/case by == write \&\& false:/' ./internal/jetstream TestCatalogTakesALostAnswerForWhatItIs
sabotage "write to the catalog without the guard" internal/jetstream/meta.go \
	's/metaPrefix+guard.Key)$/metaPrefix+key)/' ./internal/jetstream TestCatalogRefusesAChangeWhoseGuardHasChanged
sabotage "leave a log without the replicas of -replicas" internal/jetstream/replicas.go \
	's/c.Replicas = e.o.Replicas/_ = c/' ./internal/jetstream TestReplicasAreAddedWhenTheirNumberIsRaised
sabotage "let a removed node come back" internal/jetstream/join.go \
	's/case slices.Contains(a.Removed, self.Node):/case false:/' ./internal/jetstream TestANodeIsReplaced
sabotage "let nodes join without TLS" internal/jetstream/server.go \
	's/if e.o.TLS != nil {/if false {/' ./internal/jetstream TestNodesWithTheKeyMakeACluster
jet=internal/jetstream
once=TestAppendIsStoredOnceWhateverTheEngineAnswers
turns=TestOwnersThatTakeTurnsLoseNothing

sabotage "believe the engine's refusal of a message" $jet/partition_certain.go \
	's/if seq, err := p.look(); seq > 0/if !errors.Is(err, errSilent) { return 0, err }; &/' ./$jet $once
sabotage "take a message without an answer for one that is stored" $jet/partition_certain.go \
	's/return 0, errSilent$/return p.after + 1, nil/' ./$jet $once
sabotage "store a message whatever stands before it" $jet/partition_certain.go \
	's/c := condition{lastOfThis, p.after}/c := condition{always, p.after}/; s/c.kind = lastOfAll/_ = c/' ./$jet $turns
sabotage "go on behind the fence of a later owner" $jet/partition_certain.go \
	's/f.kind == fence \&\& f.epoch <= p.log.term/f.kind == fence/' ./$jet TestAppendFailsBehindTheFenceOfALaterOwner
sabotage "give up behind a late fence of an earlier owner" $jet/partition_certain.go \
	's/f.kind == fence \&\& f.epoch <= p.log.term/f.kind == fence \&\& f.epoch == p.log.term/' ./$jet TestAppendGoesOnBehindALateFenceOfAnEarlierOwner
sabotage "two messages of a partition on their way" $jet/partition_certain.go \
	's/return p.wait(p.patience)$/return p.after + 1, nil/' ./$jet TestAppendHasOneMessageOnItsWay
sabotage "a fence under a condition" $jet/partition_open.go \
	's/condition{kind: always}/condition{lastOfThis, known}/' ./$jet $turns
sabotage "open a partition before its fence is stored" $jet/partition_open.go \
	's/last, old, err := p.walk(ctx, known, at)/last, old, err := p.walk(ctx, known, max(known, 1))/' ./$jet $turns
sabotage "open a partition where a later owner has been" $jet/partition_open.go \
	's/case m.epoch > p.term:/case false:/' ./$jet TestTakeoverFailsIfALaterOwnerComesBeforeTheFence
sabotage "open a log without its last message" $jet/partition_open.go \
	's/if last == nil \&\& known > 0 {/if false {/' ./$jet TestTakeoverFailsIfTheLastMessageIsLost
sabotage "leave all fences" $jet/partition_open.go \
	's/if err != nil || len(fences) == 0 {/if true {/' ./$jet TestFencesOfIdlePartitionsDoNotPileUp
sabotage "remove the last message of an idle partition" $jet/partition_open.go \
	's/if t.next == p.first \&\& t.pos == 0/if t.pos >= 0/' ./$jet TestFencesOfIdlePartitionsDoNotPileUp
sabotage "believe one replica that a message is lost" $jet/partition_find.go \
	's/return wrong >= wrongProbes/return true/; s/if wrong < wrongReads {/if false {/; s/time.Since(began) >= wrongTime/true/' ./$jet TestReadOfAMessageThatOneReplicaHasDamaged
sabotage "tell the damage of one message for all behind it" $jet/partition_find.go \
	'/) beyond(offset/,/^}/ s/for {/for { if true { return nil, nil }/' ./$jet TestReadOfAMessageThatAllReplicasHaveDamaged
sabotage "count what chunks hold, and hold more" $jet/partition_read.go \
	's/s.log.held.try(n) {/s.log.held.try(n) || true {/' ./$jet TestChunksHoldBoundedMemory
sabotage "take the node's budget before the partition's room" $jet/partition_append.go \
	's/for a.usable() == nil \&\& a.held >= a.log.sizes.partition {/for false {/' ./$jet TestAppendsWaitForRoom
sabotage "change the catalog after another claim" $jet/topics.go \
	's/s.engine.SetValueIf(ctx, key, data, s.guard)/s.engine.SetValueIf(ctx, key, data, func() Value { v, _ := s.engine.Value(ctx, s.guard.Key); return v }())/' ./$jet TestOldOwnerChangesNothingInTheCatalog
sabotage "open the other topics without the groups' positions" $jet/takeover.go \
	's/^\t\tcase isInternal(o.p.topic):/\t\tcase false:/' ./$jet TestTakeoverFailsIfAnInternalLogCannotBeOpened
sabotage "one partition that can't be opened stops the takeover" $jet/takeover.go \
	's/^\t\tcase isInternal(o.p.topic):/\t\tcase true:/' ./$jet TestTakeoverWithAPartitionThatCannotBeOpened
sabotage "purge the last message" $jet/partition_trim.go \
	's/below := v.last$/below := v.last + 1/' ./$jet TestTakeoverOfALogThatWasTrimmed
sabotage "go on with older positions in place of those that are missing" $jet/partition_find.go \
	's/if isInternal(l.log.topic) \&\& !l.passed.Load() {/if false {/' ./$jet TestInternalLogIsReadWholeOrNotAtAll
sabotage "restore a topic whose logs begin at 0" internal/jetstream/takeover.go \
	's/p.first = open.first(i)/_ = i/' ./internal/jetstream TestStoreOfOneNode
sabotage "restore a topic on disk without its log start" internal/commitlog/topicdirs.go \
	's/if err := l.start.write(offset, offset); err != nil {/if err := error(nil); err != nil {/' ./internal/commitlog TestConformsAcrossPowerCuts
transfer=internal/transfer
sabotage "serve a cluster of which an import is not done" $transfer/import.go \
	's/s != nil \&\& s.Done == nil/false/' ./$transfer TestImportGoesOnWhereItHasEnded
sabotage "import what is damaged" $transfer/import.go \
	's/m.survey.Verified.Damaged > 0/m.survey.Verified.Damaged > 9/' ./$transfer TestImportIsRefused
sabotage "mix what two directories have" $transfer/import.go \
	's/known.Sum != m.state.Sum/false/' ./$transfer TestImportGoesOnWithTheSameDirectoryOnly
sabotage "import into a cluster that has topics" $transfer/import.go \
	's/if !m.begun {$/if false {/' ./$transfer TestImportIsRefused
sabotage "take an export that was cut off for a whole one" $transfer/frames.go \
	's/return ErrCut$/return io.EOF/' ./$transfer TestAnExportThatIsCutOffIsNoExport
sabotage "export positions behind the topics" $transfer/export.go \
	's/return order(a.Name) - order(b.Name)/return order(b.Name) - order(a.Name)/' ./$transfer TestTheBrokersOwnTopicsAreExportedFirst
sabotage "forget that an exported topic was deleted" $transfer/export.go \
	's/return e.out.json(frameDeleted, Topic{of, make(\[\]Log, of.Partitions)})/return nil/' ./$transfer TestATopicThatIsDeletedDuringAnExportIsKnownAsDeleted
sabotage "call a cluster healthy before a new node has its replicas" internal/cluster/report.go \
	's/case there < wanted:/case false:/' ./internal/cluster TestReportSaysWhatIsWrong

sabotage "carry what clients sent to a node that was frozen" internal/tcpserver/dispatch.go \
	's/if isStale(conn) {/if false {/' ./internal/tcpserver TestBytesThatNobodyLookedAtForLongAreNotCarried
sabotage "take the frames that came while a node was frozen" internal/tcpserver/wire.go \
	's/> w.times.silence }/< 0 }/' ./internal/tcpserver TestAWireThatWasFrozenTakesNoFrame
sabotage "hold any number of bytes of a carried client" internal/tcpserver/flow.go \
	's/m.got > m.granted/false/' ./internal/tcpserver FuzzLink

go run ./test/sabotage "$@" <"$work/cases"
