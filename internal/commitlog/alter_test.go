package commitlog_test

import "testing"

func TestGrowingATopicIsNoDamage(t *testing.T) {
	r := newRig(t, oneSegment())
	if _, err := r.store.AddPartitions("orders", 3); err != nil {
		t.Fatal(err)
	}
	if lines := r.log.logged(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
	r.restart()
	if lines := r.log.logged(); len(lines) > 0 {
		t.Errorf("logged when opened again: %q", lines)
	}
}
