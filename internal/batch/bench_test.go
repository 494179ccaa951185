package batch

import (
	"bytes"
	"fmt"
	"testing"

	"mbus/internal/batch/codec/codectest"
)

const benchRecords = 1000

func benchBatch() Batch {
	var b Builder
	value := bytes.Repeat([]byte("x"), 100)
	for i := range benchRecords {
		b.Add(int64(1718017201000+i/10), nil, value)
	}
	b.Close(0)
	return Batch(b.Bytes())
}

func perRecord(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkBuilder100B(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 100)
	var bld Builder
	b.ReportAllocs()
	for b.Loop() {
		bld.Reset()
		for i := range benchRecords {
			bld.Add(int64(1718017201000+i/10), nil, value)
		}
		bld.Close(0)
	}
	perRecord(b)
}

func BenchmarkVerify100B(b *testing.B) {
	batch := benchBatch()
	var it Iterator
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Verify(&it); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b)
}

func BenchmarkIterate100B(b *testing.B) {
	batch := benchBatch()
	var it Iterator
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		it.Reset(batch)
		for it.Next() {
			n += len(it.Record().Value)
		}
	}
	perRecord(b)
}

// BenchmarkCRC100B is the part of BenchmarkVerify100B that is the machine's.
func BenchmarkCRC100B(b *testing.B) {
	batch := benchBatch()
	for b.Loop() {
		batch.CheckCRC()
	}
	perRecord(b)
}

// BenchmarkVerifyCompressed verifies a batch of 1 MiB as a client would send it.
func BenchmarkVerifyCompressed(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		plain := textBatch(size)
		for _, k := range codectest.Packings {
			b.Run(fmt.Sprintf("%d/%s", size, k.Name), func(b *testing.B) {
				packed := compressed(b, plain, k)
				var it Iterator
				b.SetBytes(int64(len(plain)))
				b.ReportAllocs()
				for b.Loop() {
					if err := packed.Verify(&it); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// textBatch has records of text, some size bytes of them.
func textBatch(size int) Batch {
	var bld Builder
	for line := range bytes.Lines(codectest.Contents()["text"]) {
		if bld.OpenSize() >= size {
			break
		}
		bld.Add(1718017201000, nil, line)
	}
	bld.Close(0)
	return Batch(bld.Bytes())
}
