package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// A clockModel is a broker whose clock goes as it likes, and which ends and dies.
type clockModel struct {
	*bus
	t      *testing.T
	s      setup
	rnd    *rand.Rand
	clock  shifted
	script []string
}

func (m *clockModel) note(format string, args ...any) {
	m.script = append(m.script, fmt.Sprintf(format, args...))
}

// jump sets the clock.
func (m *clockModel) jump() {
	by := pick(m.rnd, 0, 0, 0, -time.Since(time.Unix(0, 0)), -20*day, -2*time.Hour, 2*time.Hour, 20*day, 10*365*day, 70*365*day, 200*365*day)
	m.clock.ahead(by)
	m.note("clock %+d hours", by/time.Hour)
}

func pick[T any](rnd *rand.Rand, all ...T) T { return all[rnd.IntN(len(all))] }

// publish publishes messages with any times.
func (m *clockModel) publish() {
	at := pick(m.rnd, m.Now(), time.Now(), time.Unix(1000, 0), m.Now().Add(50*time.Minute), time.UnixMilli(-1))
	topic := pick(m.rnd, m.Topics()...)
	if broker.Internal(topic.Name) {
		return
	}
	publish(m.t, topic.Partitions()[0], at, 2, 400)
	m.note("publish in %s", topic.Name)
}

// restart ends the broker, or kills it, and starts it again.
func (m *clockModel) restart(killed bool) {
	if killed {
		dead := m.s.disk
		m.s.disk = dead.Crash(pick(m.rnd, crashfs.Nothing(), crashfs.Everything(), crashfs.Some(m.rnd.Uint64())))
		dead.Kill()
		_ = m.Close()
	} else {
		mustClose(m.t, m.bus)
	}
	m.note("restart, killed: %v", killed)
	if m.rnd.IntN(2) == 0 {
		m.jump()
	}
	m.bus = mustOpen(m.t, m.s)
}

// However the clock goes, over ends and kills, nothing is removed that was published a
// moment ago, whatever time it has.
func TestNoClockRemovesWhatWasPublishedAMomentAgo(t *testing.T) {
	for seed := range uint64(200) {
		m := &clockModel{t: t, rnd: rand.New(rand.NewPCG(seed, 5))}
		m.s = setup{disk: crashfs.New(), log: commitlog.Options{SegmentBytes: 2 << 10}, options: broker.Options{Now: m.clock.now, Retention: 7 * day}}
		if seed%2 == 0 {
			m.jump()
		}
		m.bus = mustOpen(t, m.s)
		for name, keep := range map[string]time.Duration{"hour": time.Hour, "week": 7 * day, "century": 36_500 * day} {
			if _, err := m.CreateTopic(name, 1, map[string]string{broker.ConfigRetention: fmt.Sprint(keep.Milliseconds())}); err != nil {
				t.Fatal(err)
			}
		}
		for range 25 {
			switch m.rnd.IntN(7) {
			case 0, 1:
				m.jump()
			case 2, 3, 4:
				m.publish()
			default:
				m.restart(m.rnd.IntN(2) == 0)
			}
			m.Sweep()
			if i := slices.IndexFunc(m.Topics(), func(topic *broker.Topic) bool { start, _ := topic.Partitions()[0].Offsets(); return start > 0 }); i >= 0 {
				t.Fatalf("seed %d: of topic %q something is removed: %s", seed, m.Topics()[i].Name, strings.Join(m.script, ", "))
			}
		}
		mustClose(t, m.bus)
	}
}
