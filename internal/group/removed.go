package group

// ConsumeMissing is called when a client knows that the log has nothing in s any more: all
// that no member holds there counts as consumed, also messages that wait for another attempt
// or behind one with their key.
func (p *Position) ConsumeMissing(s Span) {
	p.mu.Lock()
	if s.From = max(s.From, p.leases.committed); s.From >= s.To {
		p.mu.Unlock()
		return
	}
	p.order.dequeue(s)
	spans := p.leases.ownerless(s)
	for _, o := range spans {
		if !p.leases.transfer(o, failed, nil) && !p.leases.transfer(o, queued, nil) {
			p.leases.take(o, nil)
		}
	}
	for _, o := range spans {
		p.consumed(o)
		p.order.unlock(o)
	}
	p.finish(true) // what is behind those that waited, too, if they were as many as may
}
