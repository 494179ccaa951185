package broker

import (
	"log/slog"
	"sync"
	"time"

	"mbus/internal/auth"
)

// A trail is the audit trail: a line of the log for each change, and each refusal, with the same keys.
// Refusals, which any client can cause, are limited; how many were left out is told.
type trail struct {
	log      *slog.Logger
	attempts auth.Attempts

	mu      sync.Mutex
	lines   int // of refusals since that time
	since   time.Time
	leftOut int
}

// maxRefusals is the number of refusals that are logged each second.
const maxRefusals = 20

// change tells of a change that was made.
func (t *trail) change(p Principal, action string, kind ResourceKind, name string) {
	t.log.Info("audit", append(p.attributes(), "action", action, "kind", kind, "name", name, "outcome", "done")...)
}

// refuse tells of something that was refused.
func (t *trail) refuse(p Principal, action string, kind ResourceKind, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.since) >= time.Second {
		t.since, t.lines = now, 0
	}
	if t.lines++; t.lines > maxRefusals {
		t.leftOut++
		return
	}
	args := append(p.attributes(), "action", action, "kind", kind, "name", name, "outcome", "refused")
	if t.leftOut > 0 {
		args = append(args, "left_out", t.leftOut)
		t.leftOut = 0
	}
	t.log.Warn("audit", args...)
}

func (p Principal) attributes() []any { return []any{"user", p.Name, "by", p.By, "client", p.From} }
