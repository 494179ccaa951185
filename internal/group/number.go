package group

// Number is the number of the record at an offset that the member holds.
func (m *Member) Number(p *Position, offset int64) (n uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.sent) - 1; i >= 0; i-- { // what was leased last is asked for
		if l := &m.sent[i]; l.pos == p && l.From <= offset && offset < l.To {
			return l.first + uint64(offset-l.From), true
		}
	}
	return 0, false
}

// Return gives record n back: another member may have it. It reports false if the record is settled.
func (m *Member) Return(n uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(n)
	if i == len(m.sent) || m.sent[i].first > n {
		return false
	}
	l := m.sent[i]
	from := l.From + int64(n-l.first)
	s := Span{from, from + 1}
	m.takeOut(i, s)
	l.pos.release(m, m.through(l.pos, s), 1)
	return true
}
