package commitlog_test

import (
	"flag"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

var cycles = flag.Int("cycles", 1, "how many times as many random outcomes to try for each crash")

// policies are the outcomes of a power cut that are tried for the n-th cut.
func policies(n int) []crashfs.Policy {
	list := []crashfs.Policy{crashfs.Nothing(), crashfs.Everything()}
	for i := range 2 * *cycles {
		seed := uint64(n*1000 + i)
		list = append(list, crashfs.Some(seed), crashfs.Torn(seed))
	}
	return list
}

// stride is how many calls lie from one that is tried to the next: with -short a sample is.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

// killAt kills the process before its n-th mutating call; 0 for never. It
// returns a count of the calls. What others say of a call counts, too.
func killAt(disk *crashfs.FS, n int64, others ...crashfs.Hook) *atomic.Int64 {
	calls := new(atomic.Int64)
	disk.SetHook(func(c crashfs.Call) error {
		if calls.Add(1) == n {
			disk.Kill()
			return crashfs.ErrDead
		}
		for _, h := range others {
			if err := h(c); err != nil {
				return err
			}
		}
		return nil
	})
	return calls
}

// runUntil runs a workload whose process dies before its n-th mutating call. It
// reports whether it came to that.
func (w workload) runUntil(n int) (disk *crashfs.FS, ps *promises, died bool, err error) {
	disk, ps = crashfs.New(), newPromises()
	calls := killAt(disk, int64(n), w.hooks...)
	c, err := w.client(disk, ps, time.Hour)
	if err == nil {
		err = w.run(c)
		c.Close() // no answer comes after this
	}
	died = calls.Load() >= int64(n)
	if died {
		err = nil // it was to fail
	}
	return disk, ps, died, err
}

// client opens the store on a disk, for a client that has these promises. Logs are healed after a time.
func (w workload) client(disk *crashfs.FS, ps *promises, heal time.Duration) (*client, error) {
	open := func() (*commitlog.Store, error) {
		s, err := commitlog.Open("/data", w.options(disk))
		if err == nil {
			s.SetHealAfter(heal)
		}
		return s, err
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	c := newClient(s, ps)
	c.open, c.acknowledges = open, w.syncEvery == 0
	return c, nil
}

// Else the crash tests say nothing about the journal. On a busy machine a workload may be over before the
// journal is made, and now and then no two logs commit at the same time.
func TestWorkloadsUseTheJournal(t *testing.T) {
	for _, w := range workloads {
		var rounds atomic.Int64
		w.hooks = append(slices.Clip(w.hooks), func(c crashfs.Call) error {
			if inJournal(c) && c.Op == crashfs.WriteAt && c.Len < journalBytes/2 {
				rounds.Add(1)
			}
			return nil
		})
		for runs := 0; runs == 0 || w.journal > 0 && rounds.Load() < 2 && runs < 100; runs++ {
			if _, _, _, err := w.runUntil(1 << 30); err != nil {
				t.Fatalf("%s: %v", w.name, err)
			}
		}
		if n := rounds.Load(); w.journal > 0 && n < 2 || w.journal == 0 && n > 0 {
			t.Errorf("%s: %d rounds in a journal of %d bytes", w.name, n, w.journal)
		}
	}
}

// eachCut runs the workload once for each of its mutating calls, cut there.
func (w workload) eachCut(t *testing.T, check func(t *testing.T, n int, disk *crashfs.FS, ps *promises)) {
	for n := 1; !t.Failed(); n += stride() {
		disk, ps, died, err := w.runUntil(n)
		if err != nil {
			t.Fatalf("not cut: %v", err)
		}
		check(t, n, disk, ps)
		if !died {
			if n < 20 {
				t.Errorf("the workload makes only %d calls", n)
			}
			return
		}
	}
}

func TestPowerCutAtAnyCallLosesNothingAcknowledged(t *testing.T) {
	brokertest.Slow(t)
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			w.eachCut(t, func(t *testing.T, n int, disk *crashfs.FS, ps *promises) {
				for i, p := range policies(n) {
					if err := ps.checkDisk(disk.Crash(p)); err != nil {
						t.Errorf("power cut before call %d, outcome %d, %s: %v", n, i, p.Name, err)
					}
				}
			})
		})
	}
}

func TestKillAtAnyCallLosesNothingAcknowledged(t *testing.T) {
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			w.eachCut(t, func(t *testing.T, n int, disk *crashfs.FS, ps *promises) {
				if err := ps.checkDisk(disk.KillClone()); err != nil {
					t.Errorf("killed before call %d: %v", n, err)
				}
			})
		})
	}
}

// A crash during recovery from a crash must lose nothing either.
func TestCrashAtAnyCallOfRecoveryLosesNothingAcknowledged(t *testing.T) {
	brokertest.Slow(t)
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			w.eachCut(t, func(t *testing.T, n int, disk *crashfs.FS, ps *promises) {
				each := 1 + 8 / *cycles
				if w.journal > 0 {
					each *= 5 // it has many calls, and so has its recovery
				}
				if n%each != 0 {
					return
				}
				seed := uint64(n)
				checkRecoveryCuts(t, n, "after a kill", ps, disk.KillClone)
				checkRecoveryCuts(t, n, "after a power cut", ps, func() *crashfs.FS { return disk.Crash(crashfs.Torn(seed)) })
			})
		})
	}
}

// checkRecoveryCuts cuts recovery at each mutating call of it, by a power cut or
// a kill, and checks what the next one makes of it.
func checkRecoveryCuts(t *testing.T, n int, what string, ps *promises, damaged func() *crashfs.FS) {
	for m := 1; !t.Failed(); m++ {
		disk := damaged()
		calls := killAt(disk, int64(m))
		s, err := openDisk(disk, journalBytes)
		if calls.Load() < int64(m) {
			if err != nil {
				t.Errorf("cut before call %d, %s: %v", n, what, err)
			} else {
				s.Close()
			}
			return
		}
		if err == nil {
			s.Close()
		}
		for _, p := range []crashfs.Policy{crashfs.Nothing(), crashfs.Some(uint64(m)), crashfs.Torn(uint64(m))} {
			if err := ps.checkDisk(disk.Crash(p)); err != nil {
				t.Errorf("cut before call %d, %s, recovery cut before call %d, %s: %v", n, what, m, p.Name, err)
			}
		}
		if err := ps.checkDisk(disk.KillClone()); err != nil {
			t.Errorf("cut before call %d, %s, recovery killed before call %d: %v", n, what, m, err)
		}
	}
}

// What a process changed in the names and had not synced when it was killed is not
// certain. The next one must not do anything that relies on it: the power may go
// while it recovers, and keep that alone.
func TestPowerCutInRecoveryFromAKillLeavesADataDirectory(t *testing.T) {
	brokertest.Slow(t)
	for name, step := range map[string]func(*commitlog.Store) error{
		"first start":   func(*commitlog.Store) error { return nil },
		"topic is made": func(s *commitlog.Store) error { _, err := s.CreateTopic("orders", 1, ""); return err },
		"topic is altered": func(s *commitlog.Store) error {
			if _, err := s.CreateTopic("orders", 1, ""); err != nil {
				return err
			}
			if _, err := s.AddPartitions("orders", 3); err != nil {
				return err
			}
			return s.Configure("orders", `{"a":"1"}`)
		},
		"topic is deleted": func(s *commitlog.Store) error {
			if _, err := s.CreateTopic("orders", 1, ""); err != nil {
				return err
			}
			return s.DeleteTopic("orders")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n, died := int64(1), true; died && !t.Failed(); n++ {
				disk := crashfs.New()
				calls := killAt(disk, n)
				s, err := openDisk(disk, journalBytes)
				if err == nil {
					_ = step(s) // fails if it is cut
					s.Close()
				}
				died = calls.Load() >= n
				checkNames(t, n, disk)
			}
		})
	}
}

// checkNames cuts recovery from a kill before call n at each call of it, and the power.
func checkNames(t *testing.T, n int64, killed *crashfs.FS) {
	t.Helper()
	for m, died := int64(1), true; died; m++ {
		disk := killed.KillClone()
		calls := killAt(disk, m)
		if s, err := openDisk(disk, journalBytes); err == nil {
			s.Close()
		}
		died = calls.Load() >= m
		for seed := range uint64(10) {
			s, err := openDisk(disk.Crash(crashfs.Some(seed)), journalBytes)
			if err != nil {
				t.Errorf("killed before call %d, power cut before call %d of recovery, outcome %d: %v", n, m, seed, err)
				return
			}
			s.Close()
		}
	}
}
