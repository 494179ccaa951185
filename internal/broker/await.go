package broker

// An await is a caller that waits for a topic to be made.
type await struct {
	topic string
	f     func()
}

// Await calls f once, soon, when the topic exists: at once if it does. f must
// not block. cancel takes f back; it may come too late.
func (b *Broker) Await(topic string, f func()) (cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.topics[topic] != nil {
		f()
		return func() {}
	}
	a := &await{topic, f}
	b.awaits[a] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.awaits, a)
	}
}

// arrived calls those who wait for a topic. The caller holds mu.
func (b *Broker) arrived(topic string) {
	for a := range b.awaits {
		if a.topic == topic {
			delete(b.awaits, a)
			a.f()
		}
	}
}
