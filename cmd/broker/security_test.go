package main

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/auth"
)

// A counting front counts how often it has ended connections.
type counting struct{ atomic.Int64 }

func (c *counting) EndInvalid() { c.Add(1) }

// Every front ends what is not valid any more at each change of users, and each second as long as there are users, because
// tokens expire. The warning that all is open comes when that begins.
func TestGuardEndsConnectionsAtEachChangeAndEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, fronts := auth.New(func(string, []byte) error { return nil }), [3]counting{}
		var log bytes.Buffer
		g := &guard{
			fronts: []front{&fronts[0], &fronts[1], &fronts[2]}, users: users.Users, log: slog.New(slog.NewTextHandler(&log, nil)),
			exposure: func() string { return map[bool]string{false: "users"}[users.Any()] },
		}
		stop := make(chan struct{})
		defer func() {
			close(stop)
			synctest.Wait()
		}()
		go g.run(stop)
		synctest.Wait()
		want := fronts[0].Load() // the users that there were at the start may be a change
		mustHaveEnded := func(more int64, when string) {
			t.Helper()
			synctest.Wait()
			want += more
			for i := range fronts {
				if got := fronts[i].Load(); got != want {
					t.Fatalf("%s: front %d has ended connections %d times, want %d", when, i, got, want)
				}
			}
		}
		change := func(*auth.User, bool) error { return nil }
		time.Sleep(time.Hour) // in the bubble, as all of these: time passes at once
		mustHaveEnded(0, "without users")
		if err := users.Change("alice", change); err != nil {
			t.Fatal(err)
		}
		mustHaveEnded(1, "the first user")
		if err := users.Change("bob", change); err != nil {
			t.Fatal(err)
		}
		mustHaveEnded(1, "another user")
		time.Sleep(10 * checkUsersEvery)
		mustHaveEnded(10, "nothing changes")
		for _, name := range []string{"alice", "bob"} {
			if err := users.Delete(name); err != nil {
				t.Fatal(err)
			}
			mustHaveEnded(1, "a user is deleted")
		}
		time.Sleep(time.Hour)
		mustHaveEnded(0, "without users again")
		if n := strings.Count(log.String(), "others reach this broker unprotected"); n != 2 {
			t.Errorf("%d warnings: %s", n, log.String())
		}
	})
}
