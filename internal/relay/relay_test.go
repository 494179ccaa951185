package relay

import (
	"testing"

	"mbus/test/brokertest"
)

// A client that does nothing special gets what a broker that is alone would say.
func TestAClientIsServedAsAlways(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial("orders\n" + numbered(1, 1))
		p.mustAck(1)
		p.send(numbered(2, 1000))
		p.finish()
		p.mustAck(1000)
		p.mustEnd("")
		r.mustHave("orders", 1000)

		p = r.dial("orders\n")
		p.finish()
		p.mustEnd("+0\n")
		r.dial("").finish()
		for text, code := range map[string]string{
			"bad/topic\n": "BADREQUEST", "orders?nothing\n": "BADREQUEST", "orders?first=3\nx\n": "BADREQUEST", "?topics\n": "BADREQUEST",
			"orders?format=json\n{}x\n": "BADMESSAGE", "AUTH nobody secret\norders\n": "DENIED", "orders?id=00000000-0000-4000-8000-000000000000\nx\n": "GONE",
			"\x00\x00\x00\x10": "BADREQUEST", "orders?format=batch\n" + numbered(1, 10): "BADMESSAGE",
		} {
			t.Run(text, func(t *testing.T) { r.dial(text).mustRefuse(code) })
		}
		p = r.dial("orders")
		p.finish()
		p.mustRefuse("BADREQUEST")
		p = r.dial("orders\nwhole\nhalf")
		p.mustAck(1)
		p.finish()
		p.mustRefuse("INCOMPLETE")
	})
}

// When the topics get another owner, in good order or not, producers do not notice: everything is stored once, in order.
func TestAProducerDoesNotNoticeAnotherOwner(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial("orders\n")
		idle := r.dial("others\n")
		sent := 0
		for round := range 4 {
			p.send(numbered(sent+1, sent+5000))
			sent += 5000
			if round%2 == 0 {
				r.lose()
			} else {
				r.leave()
			}
			p.send(numbered(sent+1, sent+100))
			sent += 100
			r.own()
			p.mustAck(sent)
		}
		p.finish()
		p.mustEnd("")
		r.mustHave("orders", sent)
		idle.send(numbered(1, 10))
		idle.finish()
		idle.mustAck(10)
		idle.mustEnd("")
		r.mustHave("others", 10)
	})
}

// What an owner has stored and not acknowledged is not stored again by the next.
func TestWhatIsStoredAndNotAcknowledgedIsStoredOnce(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial("orders\n")
		for n := 1; n <= 30; n += 10 {
			r.owner.store.MoveBehindNext()
			p.send(numbered(n, n+9))
			brokertest.Await(t, bound, "they are stored", r.owner.store.HasMoved)
			r.lose()
			r.own()
			p.mustAck(n + 9)
		}
		p.finish()
		p.mustEnd("")
		r.mustHave("orders", 30)
	})
}
