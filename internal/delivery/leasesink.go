package delivery

import "time"

// A Delivery is one of a message to a client without a connection.
type Delivery struct {
	Topic     string
	Partition int
	Attempt   int // from 1
	Token     string
	Expires   time.Time
}

// A leaseSink has messages encoded into memory. It is the Sink of a leaseHolder.
type leaseSink struct {
	nowhere // before the end
	holder  *leaseHolder
	part    *partition // that is sent
	request *leaseRequest
	expires time.Time
	out     []byte
	sent    []leased
}

// A leased message is encoded up to the byte end of out.
type leased struct {
	part   *partition
	offset int64
	number uint64
	end    int
}

func (s *leaseSink) begin(r *leaseRequest, expires time.Time) {
	s.request, s.expires, s.out, s.sent = r, expires, nil, nil
}

// Append encodes messages.
func (s *leaseSink) Append(m *Messages) (next int64, full bool, err error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	p := s.holder
	for it.Next() {
		r := it.Record()
		if r.Offset < m.From {
			continue
		}
		if r.Offset >= m.To {
			break
		}
		number, isHeld := p.sub.member.Number(s.part.pos, r.Offset)
		if !isHeld {
			continue
		}
		at := place{p.serial, number, uint32(m.Partition), r.Offset}
		d := Delivery{m.Topic, m.Partition, m.Attempt(r.Offset), p.all.key.token(at, p.key.topic, p.key.group), s.expires}
		s.out = s.request.want.Append(s.out, &d, r)
		s.sent = append(s.sent, leased{s.part, r.Offset, number, len(s.out)})
	}
	return m.To, false, it.Err()
}

// end makes a lease of what was encoded and is held still; nil if nothing is, or if there is no memory for it.
func (s *leaseSink) end() *Lease {
	p := s.holder
	l := &Lease{holder: p}
	begin, out, retry := 0, s.out[:0], s.request.options.retry()
	for _, x := range s.sent {
		encoded := s.out[begin:x.end]
		begin = x.end
		if n, isHeld := p.sub.member.Number(x.part.pos, x.offset); !isHeld || n != x.number {
			continue // given back: the rest of its batch can't be read
		}
		out = append(out, encoded...)
		l.numbers = append(l.numbers, x.number)
		p.add(&held{number: x.number, since: s.expires.Add(-s.request.want.For), expires: s.expires, retry: retry})
	}
	l.Body, s.out, s.sent, s.request = out, nil, nil, nil
	if len(l.numbers) == 0 {
		return nil
	}
	return l
}
