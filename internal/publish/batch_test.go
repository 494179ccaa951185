package publish

import (
	"bytes"
	"testing"

	"mbus/internal/batch"
)

// The buffer of a builder that is new, or too small, gets its size once.
func TestABuilderHasSpaceForTheMessagesThatAreExpected(t *testing.T) {
	const messages = 10_000
	line := bytes.Repeat([]byte("x"), 100)
	p := &Batch{maxBatch: 1 << 20, expected: messages * (len(line) + 1)}
	p.builders = p.one[:]
	builders.Put(new(batch.Builder))
	defer p.Free()
	size := 0
	for i := range messages {
		p.add(spot{}, 1, nil, line)
		if now := p.one[0].Cap(); i == 0 {
			size = now
		} else if now != size {
			t.Fatalf("the buffer of %d bytes has %d with message %d", size, now, i+1)
		}
	}
	if most := p.expected * 5 / 4; size > most {
		t.Errorf("the buffer has %d bytes for %d", size, p.expected)
	}
}
