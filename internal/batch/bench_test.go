package batch

import (
	"bytes"
	"testing"
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

func BenchmarkDecompress(b *testing.B) {
	p := contents()["text"][:1<<20]
	for _, k := range packings {
		b.Run(k.name, func(b *testing.B) {
			packed := k.pack(b, p)
			var d decompressor
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.decompress(k.codec, packed, DefaultMaxExpanded); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(p))/float64(len(packed)), "ratio")
		})
	}
}
