package broker

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/auth"
)

// A trail is the audit trail: a line of the log for each change, and each refusal, with the same keys.
// Refusals, which any client can cause, are limited; how many were left out is logged, too.
type trail struct {
	log      *slog.Logger
	attempts auth.Attempts

	failedLogins, denied atomic.Int64

	mu      sync.Mutex
	second  *time.Timer // ends the second in which refusals are logged; nil between such seconds
	lines   map[entry]bool
	leftOut int // refusals of this second that have no line
}

// An entry is what a line says. Equal ones have one line in a second.
type entry struct {
	Principal
	action string
	kind   ResourceKind
	name   string
}

// AuditChange adds a change that a view's principal has made to the audit trail.
// The View's own methods do so. more are keys and values.
func AuditChange(v *View, action string, kind ResourceKind, name string, more ...any) {
	v.broker.trail.change(v.principal, action, kind, name, more...)
}

// audited is AuditChange for what may have failed with err, which it returns.
func audited(v *View, err error, action string, kind ResourceKind, name string, more ...any) error {
	if err == nil {
		AuditChange(v, action, kind, name, more...)
	}
	return err
}

// AuditRefused adds a request to the audit trail that a view's principal was refused, whatever it is about.
func AuditRefused(v *View, action string) { v.broker.trail.deny(v.principal, action, "", "") }

// Refused is how many log-ins have failed, and how many requests were denied to those who had logged in, or had not.
func (b *Broker) Refused() (logins, requests int64) {
	return b.trail.failedLogins.Load(), b.trail.denied.Load()
}

func (t *trail) change(p Principal, action string, kind ResourceKind, name string, more ...any) {
	t.log.Info("audit", entry{p, action, kind, name}.attributes("done", more...)...)
}

// deny counts and logs a request that was refused.
func (t *trail) deny(p Principal, action string, kind ResourceKind, name string, more ...any) {
	t.denied.Add(1)
	t.refuse(p, action, kind, name, more...)
}

// refuse logs something that was refused.
func (t *trail) refuse(p Principal, action string, kind ResourceKind, name string, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.second == nil {
		t.lines = make(map[entry]bool)
		t.second = time.AfterFunc(time.Second, t.endSecond)
	}
	e := entry{p, action, kind, shorten(name)}
	if t.lines[e] || len(t.lines) >= maxRefusals {
		t.leftOut++
		return
	}
	t.lines[e] = true
	t.log.Warn("audit", e.attributes("refused", more...)...)
}

// endSecond logs how many refusals of a second have no line.
func (t *trail) endSecond() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.second == nil {
		return
	}
	t.second.Stop()
	if t.leftOut > 0 {
		t.log.Warn("audit", entry{}.attributes("refused", "left_out", t.leftOut)...)
	}
	t.second, t.lines, t.leftOut = nil, nil, 0
}

// attributes are the keys and values of a line.
func (e entry) attributes(outcome string, more ...any) []any {
	return append([]any{"user", e.Name, "by", e.By, "client", e.From, "action", e.action, "kind", string(e.kind), "name", e.name, "outcome", outcome}, more...)
}

func shorten(name string) string {
	if len(name) <= maxAudited {
		return name
	}
	return strings.ToValidUTF8(name[:maxAudited], "") + "…"
}

// settingsText is a configuration for people, sorted by name.
func settingsText(config map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(config)) {
		all = append(all, name+"="+config[name])
	}
	return strings.Join(all, " ")
}
