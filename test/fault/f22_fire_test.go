package fault

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A fire is publishers and consumers of several groups at work on one topic,
// while consumers and the broker are killed at random.
type fire struct {
	t          *testing.T
	b          *brokertest.Broker
	random     *rand.Rand
	kills      int
	ledger     *ledger
	publishers []string
	consumers  []*victim

	mu         sync.Mutex // guards what follows, and the lives' ended
	changed    *sync.Cond // when up or over is
	clock      int64      // counts events, so that they have an order
	up, over   bool
	deliveries map[string][]handout // by group
}

// A victim is a consumer that begins a new life when one has ended.
type victim struct {
	group   string
	process bool  // the consumer program, otherwise a connection of the test
	life    *life // the current one; guarded by fire.mu
}

// A life of a consumer is one connection to the broker.
type life struct {
	ended     int64  // when its end was about to be caused; 0 until then
	kill      func() // ends it as a crash does
	leave     func() // ends it in good order
	received  int
	acked     int // so many of them were acknowledged, as far as the test knows
	confirmed int // so many of the received are known to be acknowledged durably
}

// A handout is a message that came as the nth of a life.
type handout struct {
	publisher string
	number    int
	life      *life
	nth       int
	at        int64
}

// Injected: consumers of three groups, connections and programs, are killed
// between delivery and acknowledgement, and so is the broker. Expected: each group
// gets and acknowledges every message; what comes twice had not been confirmed to
// be acknowledged, and nobody else held it.
func TestF22KilledBetweenDeliveryAndAcknowledgement(t *testing.T) {
	f := newFire(t)
	var publishing, consuming sync.WaitGroup
	for _, p := range f.publishers {
		r := f.newRandom()
		publishing.Go(func() { f.publish(p, r) })
	}
	for _, c := range f.consumers {
		r := f.newRandom()
		consuming.Go(func() { f.consume(c, r) })
	}
	for i := range f.kills {
		f.strike(i)
	}
	f.end()
	publishing.Wait()
	f.leave()
	consuming.Wait()
	f.drain()
	f.verify()
}

func newFire(t *testing.T) *fire {
	f := &fire{
		t: t, b: brokertest.Start(t, t.TempDir(), "-partitions", "3"), random: rand.New(rand.NewPCG(seeds(t), 1)),
		kills: runs(10, 1000), ledger: newLedger("fire"), up: true, deliveries: make(map[string][]handout),
	}
	f.changed = sync.NewCond(&f.mu)
	for i := range 8 {
		f.publishers = append(f.publishers, name(i))
		f.consumers = append(f.consumers, &victim{group: fmt.Sprintf("g%d", i%3), process: i >= 4})
	}
	return f
}

func (f *fire) newRandom() *rand.Rand { return rand.New(rand.NewPCG(f.random.Uint64(), 0)) }

// strike kills a consumer or the broker, once the consumer, or one of all, and
// the groups together have got messages.
func (f *fire) strike(i int) {
	victim := f.consumers[f.random.IntN(len(f.consumers))]
	enough := f.count() + 1 + f.random.IntN(3000)
	var l *life
	await(f.t, "messages come to "+victim.group+" and all groups", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		l = victim.life
		return f.countLocked() >= enough && l != nil && l.received > 0 && l.ended == 0
	})
	if i%3 == 0 {
		f.killBroker()
		return
	}
	f.mu.Lock()
	f.endLocked(l)
	f.mu.Unlock()
	l.kill()
}

// killBroker kills the broker, and the processes that know its ports, which
// change.
func (f *fire) killBroker() {
	f.mu.Lock()
	f.up = false
	var processes []*life
	for _, c := range f.consumers {
		if c.life != nil {
			f.endLocked(c.life)
			if c.process {
				processes = append(processes, c.life)
			}
		}
	}
	f.mu.Unlock()
	f.b.Kill()
	for _, l := range processes {
		l.kill()
	}
	f.restart()
}

// restart starts the broker again. Nobody looks at f.b while it is not up.
func (f *fire) restart() {
	f.b.Restart()
	f.mu.Lock()
	f.up = true
	f.mu.Unlock()
	f.changed.Broadcast()
}

func (f *fire) endLocked(l *life) {
	if f.clock++; l.ended == 0 {
		l.ended = f.clock
	}
}

func (f *fire) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.countLocked()
}

func (f *fire) countLocked() (n int) {
	for _, d := range f.deliveries {
		n += len(d)
	}
	return n
}

// end has publishers and consumers begin nothing more.
func (f *fire) end() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.changed.Broadcast()
}

// leave has all consumers end in good order.
func (f *fire) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.consumers {
		if c.life != nil && c.life.ended == 0 {
			f.endLocked(c.life)
			c.life.leave()
		}
	}
}

// broker waits for a broker; ok says that there is more to do.
func (f *fire) broker() (b *brokertest.Process, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.up && !f.over {
		f.changed.Wait()
	}
	if f.over {
		return nil, false
	}
	return f.b.Process, true
}

func (f *fire) goesOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.over
}

// publish publishes in small bursts, over a new connection whenever one failed.
func (f *fire) publish(publisher string, r *rand.Rand) {
	for b, ok := f.broker(); ok; b, ok = f.broker() {
		if conn, err := net.Dial("tcp", b.Producers()); err == nil {
			f.publishOn(conn.(*net.TCPConn), publisher, r)
		}
	}
}

func (f *fire) publishOn(conn *net.TCPConn, publisher string, r *rand.Rand) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(conn)
	first, sent, acked := -1, 0, 0
	hear := func() error {
		line, err := answers.ReadString('\n')
		n, _ := count(strings.TrimSuffix(line, "\n"))
		for ; acked < n; acked++ {
			f.ledger.acknowledge(publisher, first+acked)
		}
		return err
	}
	_, err := io.WriteString(conn, "fire\n")
	for err == nil && f.goesOn() {
		for range 1 + r.IntN(10) {
			n := f.ledger.send(publisher, first)
			if first < 0 {
				first = n
			}
			sent++
			_, err = io.WriteString(conn, f.ledger.message(publisher, n, n*7919%400)+"\n")
		}
		for allowed := r.IntN(10); err == nil && sent-acked > allowed; {
			err = hear()
		}
	}
	for conn.CloseWrite(); err == nil; { // if it fails, so does reading
		err = hear()
	}
}

func (f *fire) consume(c *victim, r *rand.Rand) {
	for b, ok := f.broker(); ok; b, ok = f.broker() {
		if c.process {
			f.runProcess(c, b)
		} else if conn, err := net.Dial("tcp", b.Consumers()); err == nil {
			f.follow(c, b, conn.(*net.TCPConn), r)
		}
	}
}

// begin starts a life and makes it the current one, unless its broker has gone or all
// is over. Nothing can be delivered to a life that the end of its broker does not end.
func (f *fire) begin(c *victim, l *life, b *brokertest.Process, start func() error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.up || f.over || f.b.Process != b {
		return false
	}
	if err := start(); err != nil {
		f.t.Error(err)
		return false
	}
	c.life = l
	return true
}

// follow consumes over a connection, and keeps a few of the newest messages
// unacknowledged.
func (f *fire) follow(c *victim, b *brokertest.Process, conn *net.TCPConn, r *rand.Rand) {
	defer conn.Close()
	left := false
	l := &life{
		kill:  func() { conn.SetLinger(0); conn.Close() },
		leave: func() { left = true; conn.CloseWrite() },
	}
	if !f.begin(c, l, b, func() error { return nil }) { // it has not asked for anything yet
		return
	}
	end := f.read(c.group, l, conn, "&follow", func() {
		if n := l.received - r.IntN(20); n > l.acked {
			if _, err := fmt.Fprintf(conn, "+%d\n", n); err == nil { // it may have left by now
				l.acked = n
			}
		}
	})
	f.mu.Lock() // guards left
	defer f.mu.Unlock()
	if left && end == nil {
		l.confirmed = l.acked
	}
}

// read requests messages and takes them, and confirmations, to the end. quiet is
// called when nothing more has come yet.
func (f *fire) read(group string, l *life, conn net.Conn, options string, quiet func()) error {
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := fmt.Fprintf(conn, "fire?group=%s&ack&confirm&format=json%s\n", group, options); err != nil {
		return err
	}
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		if n, ok := count(line); ok {
			l.confirmed = n
		} else {
			var m struct{ Payload string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				f.t.Errorf("%s got %q", group, line)
				return err
			}
			f.deliver(group, l, m.Payload)
		}
		if lines.Buffered() == 0 {
			quiet()
		}
	}
}

func (f *fire) deliver(group string, l *life, text string) {
	publisher, n, ok := f.ledger.Parse(text)
	if !ok {
		f.t.Errorf("%s got what nobody sent: %q", group, text)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock++
	l.received++
	f.deliveries[group] = append(f.deliveries[group], handout{publisher, n, l, l.received, f.clock})
}

// runProcess runs the consumer program until it ends. What it has written counts
// as received, as it acknowledges nothing else.
func (f *fire) runProcess(c *victim, b *brokertest.Process) {
	cmd := exec.Command(brokertest.Program(f.t, "consumer"), "-port", brokertest.Port(b.Consumers()),
		"-topic", "fire", "-group", c.group, "-follow", "-f", `%s\n`)
	cmd.Env = brokertest.Environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out io.Reader
	start := func() (err error) {
		if out, err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
		return err
	}
	l := &life{
		kill:  func() { cmd.Process.Kill() },
		leave: func() { cmd.Process.Signal(syscall.SIGTERM) },
	}
	if !f.begin(c, l, b, start) {
		return
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		f.deliver(c.group, l, lines.Text())
	}
	l.acked = l.received
	if cmd.Wait() == nil {
		l.confirmed = l.received
	}
}

// drain kills the broker once more and brings every group to its end, where it
// finds nothing more.
func (f *fire) drain() {
	f.b.Restart()
	for group := range f.deliveries {
		conn := brokertest.Dial(f.t, f.b.Consumers(), "")
		l := &life{}
		if err := f.read(group, l, conn, "", func() { fmt.Fprintf(conn, "+%d\n", l.received) }); err != nil {
			f.t.Errorf("draining %s: %v", group, err)
		}
		conn.Close()
		l.acked = l.received
		await(f.t, group+" has consumed everything", func() bool {
			answer := f.b.Drain("?groups&format=json&group=" + group)
			return strings.Count(answer, `"lag":`) == 3 && strings.Count(answer, `"lag":0,`) == 3
		})
		if again := f.b.Drain("fire?group=" + group); again != "" {
			f.t.Errorf("%s was drained and got %d messages again", group, strings.Count(again, "\n"))
		}
	}
}

func (f *fire) verify() {
	for group, all := range f.deliveries {
		slices.SortFunc(all, func(a, b handout) int {
			return cmp.Or(cmp.Compare(a.publisher, b.publisher), cmp.Compare(a.number, b.number), cmp.Compare(a.at, b.at))
		})
		sum, wrong := f.tally(all)
		report(f.t, sum)
		if sum.Lost > 0 || wrong > 0 || sum.Acked == 0 {
			f.t.Errorf("%s: %d lost, %d of %d duplicates had been acknowledged or were held by another", group, sum.Lost, wrong, sum.Duplicates)
		}
	}
	report(f.t, tally{Runs: f.kills})
}

// tally counts sorted deliveries, and the duplicates among them that no kill
// accounts for. What was read and never acknowledged is lost, as its consumer
// might have died before it had done anything.
func (f *fire) tally(sorted []handout) (sum tally, wrong int) {
	found := make(map[string]map[int]bool)
	for _, p := range f.publishers {
		found[p] = make(map[int]bool)
	}
	for i, d := range sorted {
		sum.Read++
		if d.nth <= d.life.acked {
			found[d.publisher][d.number] = true
		}
		if i == 0 || !sorted[i-1].same(d) {
			continue
		}
		sum.Duplicates++
		for k := i - 1; k >= 0 && sorted[k].same(d); k-- {
			if !sorted[k].gaveWayTo(d) && !d.gaveWayTo(sorted[k]) {
				wrong++
				break
			}
		}
	}
	f.ledger.Acknowledged(func(p string, n int) {
		sum.Acked++
		if !found[p][n] {
			sum.Lost++
		}
	})
	return sum, wrong
}

// same says whether two deliveries are of one message.
func (d handout) same(other handout) bool {
	return d.publisher == other.publisher && d.number == other.number
}

// gaveWayTo reports whether the message could come again as other: it had not
// been confirmed, and its connection was ended before other was read. Either of
// two deliveries may have been the first, as what a dead consumer left in a pipe
// or socket may be read late.
func (d handout) gaveWayTo(other handout) bool {
	return d.nth > d.life.confirmed && d.life.ended != 0 && d.life.ended < other.at
}
