package commitlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// What an enemy publishes begins with this.
const forged = "FORGED"

// A forger makes messages that look like batches of the rig's log.
type forger struct {
	*rig
	epoch int32
}

func (r *rig) forger() forger { return forger{r, r.store.Topics()[0].Epoch} }

// batch is one of so many records that claims to begin at an offset.
func (f forger) batch(base int64, records int) []byte {
	var b batch.Builder
	for range records {
		b.Add(batchtest.FirstTime, nil, []byte(forged))
	}
	b.Close(0)
	p := batch.Batch(bytes.Clone(b.Bytes()))
	p.Stamp(base, f.epoch)
	return p
}

// header is one that claims offsets and a size, and has no right checksum.
func (f forger) header(base, next, size int64) []byte {
	var h [batch.HeaderSize]byte
	binary.BigEndian.PutUint64(h[:], uint64(base))
	binary.BigEndian.PutUint32(h[8:], uint32(size-12))
	binary.BigEndian.PutUint32(h[12:], uint32(f.epoch))
	h[16] = 2
	binary.BigEndian.PutUint32(h[23:], uint32(next-base-1))
	return h[:]
}

// suffix is a message that ends with a batch that ends where the message's own does.
func (f forger) suffix(base int64, records int) []byte {
	inner := batch.Batch(f.batch(base, records))
	inner = append(inner, 0) // the number of headers of the record that it is in
	binary.BigEndian.PutUint32(inner[8:], uint32(len(inner)-12))
	recompute(inner)
	return inner[:len(inner)-1]
}

func recompute(b batch.Batch) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// hostile are messages for the offset base, of which those behind are real, each of one
// record.
func (f forger) hostile(base int64) map[string][]byte {
	x := bytes.Repeat([]byte("x"), 50)
	next := base + 1
	return map[string][]byte{
		"for all that follow":     concat(x, f.batch(next, 7), x),
		"one by one":              concat(x, f.batch(next, 1), f.batch(next+1, 1), f.batch(next+2, 1), f.batch(next+3, 4), x),
		"for its own offset":      concat(x, f.batch(base, 1), f.batch(next, 7), x),
		"for some that follow":    concat(x, f.batch(next+2, 3), x),
		"far ahead":               concat(x, f.batch(next+1<<40, 3), x),
		"up to its end":           concat(x, f.suffix(next, 7)),
		"and a header behind":     concat(x, f.batch(next, 7), f.header(next+7, next+8, 300), x),
		"and one that goes on":    concat(x, f.batch(next, 2), f.header(next+2, next+7, 1500), x),
		"again and again":         concat(f.batch(next, 7), f.batch(next, 7), f.batch(next, 7), f.batch(next+7, 7), f.batch(next+7, 7)),
		"a header for everything": concat(x, f.header(next, next+20, 1<<20), x),
	}
}

func concat(list ...[]byte) []byte { return bytes.Join(list, nil) }

// one is a batch of one message.
func one(value []byte) []byte {
	var b batch.Builder
	b.Add(batchtest.FirstTime, nil, value)
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// A message that looks like batches of its log, and claims the offsets of those behind it, is
// not served in their place, whichever bit of the batch around it is damaged, with the index
// or without, in a sealed segment, in an active one, and as the last message.
func TestMessageIsNeverServedAsABatch(t *testing.T) {
	brokertest.Slow(t)
	for name := range (forger{}).hostile(0) {
		for _, last := range []bool{false, true} {
			for _, indexed := range []bool{true, false} {
				r := newRig(t, oneSegment())
				r.fill(2)
				r.append(one(r.forger().hostile(6)[name]))
				if !last {
					for i := range 7 {
						r.append(one(fmt.Append(nil, "real ", i)))
					}
					r.fill(2)
				}
				if err := r.store.Close(); err != nil {
					t.Fatal(err)
				}
				closed, pos := r.disk.KillClone(), len(bytesOf(r.stored[:2]))
				content := readFile(t, closed, activeLog)
				for bit := range 8 * 30 {
					damaged := bytes.Clone(content)
					damaged[pos+bit/8] ^= 1 << (bit % 8)
					r.disk = closed.KillClone()
					writeFile(t, r.disk, activeLog, damaged)
					if !indexed {
						r.removeFile(r.disk, strings.TrimSuffix(activeLog, ".log")+".index")
					}
					r.reopen(r.disk)
					if err := r.showsUnforged(2); err != nil {
						t.Fatalf("%s, last %v, indexed %v, bit %d: %v", name, last, indexed, bit, err)
					}
				}
				r.store.Close()
			}
		}
	}
}

// errForged says that something is served that was never stored.
var errForged = errors.New("forged")

// showsUnforged says whether the log has all that was stored but for the batches that are
// damaged, and then whether it has nothing else.
func (r *rig) showsUnforged(damaged ...int) error {
	sound, holes, err := survey(r.Partition, 1<<20)
	if err != nil {
		return err
	}
	served := make(map[string]bool)
	for _, b := range sound {
		served[string(b.Bytes)] = true
	}
	for n, b := range r.stored {
		if !served[string(b.Bytes)] && !slices.Contains(damaged, n) {
			return fmt.Errorf("the batch of offset %d is not served, %+v are missing", b.Base, holes)
		}
		delete(served, string(b.Bytes))
	}
	for b := range served {
		return fmt.Errorf("a batch of offset %d is served that was never stored: %w: %.100q", batch.Batch(b).BaseOffset(), errForged, b)
	}
	return nil
}

// Nor behind the recovery point, as the last message, where zeros follow because space was allocated
// ahead, and where the recovery point is lost.
func TestLastMessageIsNeverServedAsABatchAfterAKill(t *testing.T) {
	brokertest.Slow(t)
	for name := range (forger{}).hostile(0) {
		r := newRig(t, oneSegment())
		r.fill(2)
		if !commitlog.IsAtRecoveryPoint(r.Partition) { // waits for the writing of the recovery point
			t.Fatal("the recovery point is not at the end")
		}
		position := readFile(t, r.disk, activeIndex)
		r.append(one(r.forger().hostile(6)[name]))
		killed, pos := r.disk.KillClone(), len(bytesOf(r.stored[:2]))
		r.store.Close()
		content := readFile(t, killed, activeLog)
		for bit := range 8 * 30 {
			damaged := bytes.Clone(content)
			damaged[pos+bit/8] ^= 1 << (bit % 8)
			disk := killed.KillClone()
			writeFile(t, disk, activeLog, damaged)
			if bit%3 == 0 {
				r.removeFile(disk, activeIndex)
			} else {
				writeFile(t, disk, activeIndex, position)
			}
			r.reopen(disk)
			if err := r.showsUnforged(2); err != nil {
				t.Fatalf("%s, bit %d: %v", name, bit, err)
			}
		}
		r.store.Close()
	}
}

// A second batch is damaged among those that follow: what is between the two is served, and
// nothing of what either of them holds.
func TestMessageIsNotServedAsABatchBesideOtherDamage(t *testing.T) {
	for name := range (forger{}).hostile(0) {
		for _, second := range []int{3, 4, 6, 9} {
			for _, first := range []int{9*8 + 6, 10*8 + 3, 11*8 + 7, 26 * 8, 60 * 8} { // bits
				r := newRig(t, oneSegment())
				r.fill(2)
				r.append(one(r.forger().hostile(6)[name]))
				for i := range 7 {
					r.append(one(fmt.Append(nil, "real ", i)))
				}
				r.fill(2)
				r.restartDamaged(true, func(content []byte) []byte {
					content[len(bytesOf(r.stored[:2]))+first/8] ^= 1 << (first % 8)
					content[len(bytesOf(r.stored[:second]))+70] ^= 4
					return content
				})
				if err := r.showsUnforged(2, second); err != nil {
					t.Fatalf("%s, bit %d, and batch %d: %v", name, first, second, err)
				}
				r.store.Close()
			}
		}
	}
}

// Random damage to a log with random messages, some of which look like its batches: every
// batch that is undamaged is served; and where one batch is damaged, nothing that was never
// stored.
func TestAnyDamageBesideAnyMessage(t *testing.T) {
	for seed := range uint64(400 * *cycles) {
		random := rand.New(rand.NewPCG(seed, 12))
		r := newRig(t, smallSegments())
		for range 20 {
			_, next := r.Offsets()
			switch random.IntN(3) {
			case 0:
				all := r.forger().hostile(next)
				names := slices.Sorted(maps.Keys(all))
				r.append(one(all[names[random.IntN(len(names))]]))
			case 1:
				r.fill(1)
			default:
				r.append(one(make([]byte, random.IntN(400))))
			}
		}
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		disk := r.disk.KillClone()
		logs := files(t, disk, ".log")
		log := logs[random.IntN(len(logs))]
		content := readFile(t, disk, log)
		if len(content) == 0 {
			continue
		}
		what := ""
		for range 1 + random.IntN(2) {
			what += damageAt(random, content, random.IntN(len(content))) + ", "
		}
		var hit []int
		pos, first := 0, indexOf(r, readFile(t, disk, log))
		for i := first; i < len(r.stored) && pos < len(content); i++ {
			if end := pos + len(r.stored[i].Bytes); !bytes.Equal(content[pos:end], r.stored[i].Bytes) {
				hit = append(hit, i)
			}
			pos += len(r.stored[i].Bytes)
		}
		writeFile(t, disk, log, content)
		if random.IntN(2) == 0 && log != logs[len(logs)-1] {
			r.removeFile(disk, strings.TrimSuffix(log, ".log")+".index")
		}
		r.reopen(disk)
		if err := r.showsUnforged(hit...); err != nil {
			if errors.Is(err, errForged) && len(hit) > 1 { // see salvage.go
				continue
			}
			t.Errorf("seed %d, %s of %s, batches %v: %v", seed, what, log, hit, err)
		}
		r.store.Close()
	}
}

// Where two batches are damaged, what the first one holds may be taken for a batch of the same
// offset that lies behind it. Readers go on there, too, and are not told of no offsets for ever.
func TestReadersGoOnWhereTheSameOffsetIsFoundAgain(t *testing.T) {
	for _, seed := range []uint64{3343, 3571} {
		random := rand.New(rand.NewPCG(seed, 77))
		r := newRig(t, oneSegment())
		var marks [][]byte
		for range 14 {
			_, next := r.Offsets()
			switch random.IntN(3) {
			case 0:
				all := r.forger().hostile(next)
				r.append(one(all[slices.Sorted(maps.Keys(all))[random.IntN(len(all))]]))
			case 1:
				r.fill(1)
			default:
				r.append(one(make([]byte, random.IntN(400))))
			}
			if !commitlog.IsAtRecoveryPoint(r.Partition) {
				t.Fatal("the recovery point is not at the end")
			}
			marks = append(marks, readFile(t, r.disk, activeIndex))
		}
		disk, used := r.disk.KillClone(), len(bytesOf(r.stored))
		content := readFile(t, disk, activeLog)
		for range 1 + random.IntN(2) {
			damageAt(random, content[:used], random.IntN(used))
		}
		writeFile(t, disk, activeLog, content)
		writeFile(t, disk, activeIndex, marks[random.IntN(len(marks)+1)])
		r.reopen(disk)
		for _, maxBytes := range []int{1, 2000, 1 << 20} {
			if _, _, err := survey(r.Partition, maxBytes); err != nil {
				t.Errorf("seed %d, %d bytes at a time: %v", seed, maxBytes, err)
			}
		}
		r.store.Close()
	}
}

func damageAt(random *rand.Rand, p []byte, from int) string {
	n := min(1+random.IntN(300), len(p)-from)
	switch random.IntN(4) {
	case 0:
		clear(p[from : from+n])
		return fmt.Sprintf("%d zeros at %d", n, from)
	case 1:
		for i := range n {
			p[from+i] = byte(random.Uint32())
		}
		return fmt.Sprintf("%d random bytes at %d", n, from)
	}
	bit := random.IntN(8)
	p[from] ^= 1 << bit
	return fmt.Sprintf("bit %d of byte %d", bit, from)
}

// hostileLog is a log whose segment has a batch of look-alikes, the length of which is
// damaged, between others, and is big bytes long.
func hostileLog(t testing.TB, big int, hostile bool) *crashfs.FS {
	r := newFuzzRig(t)
	r.append(one([]byte("first")))
	value := make([]byte, 0, big/8)
	for len(value) < big/8 {
		h := make([]byte, batch.HeaderSize)
		if hostile {
			h = r.forger().header(2, 3, int64(big/2))
		}
		value = append(value, h...)
	}
	r.append(one(value))
	for range big / (64 << 10) {
		r.append(one(make([]byte, 64<<10)))
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	content := readFile(t, disk, activeLog)
	content[len(r.stored[0].Bytes)+8] ^= 0x40
	writeFile(t, disk, activeLog, content)
	return disk
}

// The way past damage reads its region twice, whatever a message holds, with the index or
// without, and once for all readers.
func TestWayPastDamageIsLinear(t *testing.T) {
	const big = 4 << 20
	for _, hostile := range []bool{false, true} {
		for _, indexed := range []bool{true, false} {
			disk := hostileLog(t, big, hostile)
			if !indexed {
				if err := disk.Remove(strings.TrimSuffix(activeLog, ".log") + ".index"); err != nil {
					t.Fatal(err)
				}
			}
			r := &rig{T: t, options: oneSegment()}
			d := &crashfs.Worn{FS: disk}
			r.startWorn(d)
			if n := d.Read.Load(); n > 6*big {
				t.Errorf("hostile %v, indexed %v: the start reads %d MiB of %d", hostile, indexed, n>>20, big>>20)
			}
			var c store.Chunk
			for i := range 20 {
				d.Read.Store(0)
				if err := r.Read(1, 1, &c); err == nil {
					_, err = c.Load(nil)
					if err == nil {
						t.Fatal("the damaged batch is read")
					}
				}
				c.Release()
				most := int64(5 * big)
				if i > 0 {
					most = 2 * big // the damaged batch, to see that it is that
				}
				if n := d.Read.Load(); n > most {
					t.Errorf("hostile %v, indexed %v: read %d takes %d KiB of a segment of %d", hostile, indexed, i, n>>10, big>>10)
				}
			}
			r.store.Close()
		}
	}
}

// A read past damage, with a message that is plain and one that looks like headers.
func BenchmarkPastDamage(b *testing.B) {
	for _, size := range []int{4 << 20, 16 << 20} {
		for _, hostile := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d MiB, hostile %v", size>>20, hostile), func(b *testing.B) {
				disk := hostileLog(b, size, hostile)
				index := strings.TrimSuffix(activeLog, ".log") + ".index"
				if err := disk.Remove(index); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(size))
				for b.Loop() {
					clone := disk.KillClone()
					r := &rig{T: new(testing.T), options: oneSegment()}
					r.start(clone)
					r.connect()
					var c store.Chunk
					if err := r.Read(1, 1, &c); err == nil {
						_, _ = c.Load(nil)
					}
					c.Release()
					r.store.Close()
				}
			})
		}
	}
}

// The disk damages what this process has written while the log is open.
func TestMessageIsNotServedAsABatchInALogThatIsOpen(t *testing.T) {
	for name := range (forger{}).hostile(0) {
		r := newRig(t, oneSegment())
		r.fill(2)
		r.append(one(r.forger().hostile(6)[name]))
		for i := range 7 {
			r.append(one(fmt.Append(nil, "real ", i)))
		}
		for range 200 { // so that nobody knows where each batch begins
			r.append(one([]byte("more")))
		}
		content := readFile(t, r.disk, activeLog)
		pos := len(bytesOf(r.stored[:2]))
		for bit := 8 * 8; bit < 8*30; bit += 3 {
			damaged := bytes.Clone(content)
			damaged[pos+bit/8] ^= 1 << (bit % 8)
			writeFile(t, r.disk, activeLog, damaged)
			if err := r.showsUnforged(2); err != nil {
				t.Fatalf("%s, bit %d: %v", name, bit, err)
			}
		}
		writeFile(t, r.disk, activeLog, content)
		r.holdsStored()
	}
}

// FuzzPastDamage damages a batch with any message between others: these are served, and what
// they hold, and nothing else.
func FuzzPastDamage(f *testing.F) {
	f.Add([]byte("a message"), uint16(9), byte(0x40), true)
	f.Add(bytes.Repeat([]byte{0, 0, 0, 2}, 40), uint16(8), byte(1), false)
	r := newFuzzRig(f)
	epoch := r.forger().epoch
	for _, value := range r.forger().hostile(1) {
		value = bytes.ReplaceAll(value, binary.BigEndian.AppendUint32(nil, uint32(epoch)), fuzzEpoch)
		f.Add(value, uint16(9), byte(0x40), true)
		f.Add(value, uint16(11), byte(0x80), false)
	}
	f.Fuzz(func(t *testing.T, value []byte, at uint16, mask byte, indexed bool) {
		if len(value) > 64<<10 || mask == 0 {
			return
		}
		r := newFuzzRig(t)
		r.T = t
		value = bytes.ReplaceAll(value, fuzzEpoch, binary.BigEndian.AppendUint32(nil, uint32(r.forger().epoch)))
		r.append(one([]byte("before")), one(value))
		for i := range 9 {
			r.append(one(fmt.Append(nil, "real ", i)))
		}
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		disk := r.disk.KillClone()
		content := readFile(t, disk, activeLog)
		hit := content[len(r.stored[0].Bytes):][:len(r.stored[1].Bytes)]
		hit[int(at)%len(hit)] ^= mask
		writeFile(t, disk, activeLog, content)
		if !indexed {
			r.removeFile(disk, strings.TrimSuffix(activeLog, ".log")+".index")
		}
		r.start(disk)
		r.connect()
		defer r.store.Close()
		if err := r.showsUnforged(1); err != nil {
			t.Error(err)
		}
	})
}

// fuzzEpoch stands in an input for the epoch of the log that it becomes a message of, which is
// another one each time.
var fuzzEpoch = []byte("EPCH")

// newFuzzRig is a rig outside of a test.
func newFuzzRig(t testing.TB) *rig {
	r := &rig{T: new(testing.T), disk: crashfs.New(), options: oneSegment()}
	r.start(r.disk)
	if _, err := r.store.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	r.connect()
	return r
}
