// Package delivery delivers messages to consumers: sessions of a group's members, which
// lease messages, acknowledge them, have them retried or put among the dead letters, and
// replays, which look without consuming. A Session writes to a Sink, which knows the format
// and the transport; the package knows no socket and no protocol.
package delivery

import (
	"sync/atomic"

	"mbus/internal/broker"
)

// A Hub has what all sessions of a broker share: the memory for batches that are sent.
type Hub struct {
	broker    *broker.Broker
	slots     *slots
	leftovers *leftovers
	loads     chan struct{} // holds as many as there are loaders with a buffer
	leases    *leases
	stopping  atomic.Bool
	stopped   chan struct{} // closed by Stop
}

// Stop ends the sending of sessions that follow: messages that another session gives back
// from now on are delivered after the next start. A Drain goes on.
func (h *Hub) Stop() {
	if !h.stopping.Swap(true) {
		close(h.stopped)
	}
}

// NewHub has no sessions yet.
func NewHub(b *broker.Broker) *Hub {
	h := &Hub{
		broker: b, slots: newSlots(), leftovers: newLeftovers(&b.Budget), loads: make(chan struct{}, broker.Loads),
		stopped: make(chan struct{}),
	}
	h.leases = newLeases(h)
	return h
}
