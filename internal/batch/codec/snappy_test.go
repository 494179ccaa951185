package codec

import (
	"testing"

	"github.com/klauspost/compress/s2"
)

func TestBlocksInTheS2FormatAreRefused(t *testing.T) {
	text := []byte("one and the same text, again and again: ")
	for len(text) < 100_000 {
		text = append(text, text[len(text)/3:]...)
	}
	s2Block, snappyBlock := s2.Encode(nil, text), s2.EncodeSnappy(nil, text)
	if !isS2(s2Block) {
		t.Fatal("the encoder made no use of the S2 format")
	}
	if isS2(snappyBlock) {
		t.Error("a Snappy block is taken for S2")
	}
	var d Decoder
	if _, err := d.Expand(Snappy, s2Block, 1<<20); err == nil {
		t.Error("it is taken")
	}
}
