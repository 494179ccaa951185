package broker

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/auth"
)

// A trail is the audit trail: a line of the log for each change, and each refusal, with the same keys.
// Refusals, which any client can cause, are limited; how many were left out is told.
type trail struct {
	log      *slog.Logger
	attempts auth.Attempts

	failedLogins, refusals atomic.Int64

	mu      sync.Mutex
	lines   int // of refusals since that time
	since   time.Time
	leftOut int
}

// AuditChange adds a change that a view's principal has made to the audit trail.
func AuditChange(v *View, action string, kind ResourceKind, name string) {
	v.broker.trail.change(v.principal, action, kind, name)
}

// audited is AuditChange for what may have failed with err, which it returns.
func audited(v *View, err error, action string, kind ResourceKind, name string) error {
	if err == nil {
		AuditChange(v, action, kind, name)
	}
	return err
}

// AuditRefusal adds an error to the audit trail if it is a *DeniedError. Fronts call it where a request ends with
// one, because a view asks for access also to leave out of a list what its principal may not see.
func AuditRefusal(v *View, err error) {
	var denied *DeniedError
	if errors.As(err, &denied) {
		v.broker.trail.refuse(denied.Principal, denied.Access.String(), denied.Resource.Kind, denied.Resource.Name)
	}
}

// AuditRefused adds something to the audit trail that a view's principal was refused.
func AuditRefused(v *View, action string, kind ResourceKind, name string) {
	v.broker.trail.refuse(v.principal, action, kind, name)
}

// Refused is how many log-ins have failed, and how many requests were denied to those who had logged in, or had not.
func (b *Broker) Refused() (logins, requests int64) {
	logins = b.trail.failedLogins.Load()
	return logins, b.trail.refusals.Load() - logins
}

// maxRefusals is the number of refusals that are logged each second.
const maxRefusals = 20

// change tells of a change that was made.
func (t *trail) change(p Principal, action string, kind ResourceKind, name string) {
	t.log.Info("audit", append(p.attributes(), "action", action, "kind", kind, "name", name, "outcome", "done")...)
}

// refuse tells of something that was refused.
func (t *trail) refuse(p Principal, action string, kind ResourceKind, name string) {
	t.refusals.Add(1)
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
