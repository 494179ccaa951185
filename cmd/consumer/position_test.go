package main

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestPositionAsText(t *testing.T) {
	p := position{topic: "orders", size: 1234, next: map[int]int64{12: 2, 3: 17}}
	text := p.encode()
	want := "mbus consumer position 1\ntopic orders\nsize 1234\npartition 3 next 17\npartition 12 next 2\ncrc32c "
	if !strings.HasPrefix(text, want) || len(text) != len(want)+9 {
		t.Errorf("got %q", text)
	}
	got, err := decodePosition(text)
	if err != nil || got.topic != p.topic || got.size != p.size || !maps.Equal(got.next, p.next) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDamagedPositionIsRefusedAtAnyByte(t *testing.T) {
	whole := (&position{topic: "orders", size: 1234, next: map[int]int64{0: 17}}).encode()
	for i := range whole {
		for _, text := range []string{whole[:i], whole[:i] + string(whole[i]^1) + whole[i+1:], whole + whole[:i] + "\n"} {
			if p, err := decodePosition(text); !errors.Is(err, errNoPosition) {
				t.Fatalf("%q is taken: %v, %v", text, p, err)
			}
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add((&position{topic: "orders", size: 1234, next: map[int]int64{0: 17, 5: 1}}).encode())
	f.Add("partition 0 next 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := decodePosition(text); err == nil && p.encode() != text {
			t.Errorf("%q is taken as %v", text, p)
		}
	})
}
