package group_test

import "testing"

// Records have numbers; offsets that have no record do not.
func TestHoles(t *testing.T) {
	for name, text := range map[string]string{
		"a span without records is consumed at once, and has no numbers": `
			a lease 0 5 none
			committed -> 5
			a open -> 0 messages, 0 bytes, from 0 of 0 on
			a lease 5 7
			a acks 1-1
			kept -> 6`,
		"nothing is kept of a position for a hole alone": `
			a lease 0 5 none
			writes -> 0
			durable -> nothing
			start 3
			committed -> 3`,
		"a hole is kept where the position is": `
			a lease 0 1
			a acks
			kept -> 1
			a lease 1 5 none
			kept -> 5`,
		"a hole that is not free is not consumed": `
			a lease 3 4
			b lease 0 5 none -> refused
			free 9 -> 0 3`,
		"a count is of records": `
			a lease 0 10 2-4 6-7 9
			a open -> 4 messages, 40 bytes, from 1 of 4 on
			committed -> 2
			a acks 1
			committed -> 3
			a acks 2
			committed -> 6
			a acks 3
			committed -> 9
			a open -> 1 messages, 10 bytes, from 4 of 4 on
			a acks 4
			committed -> 10
			a acks 5 -> not sent yet: 4 were`,
		"a record alone is settled with the hole behind it": `
			a lease 0 10 2-4 6
			a acks 2-2
			committed -> 2
			kept -> 2 3-6
			a acks 1-1
			committed -> 6
			a acks 3-3
			committed -> 10`,
		"a range is settled over holes": `
			a lease 0 10 0 3 6 9
			a acks 2-3
			kept -> 0 3-9
			a acks 1-4
			committed -> 10
			kept -> 10`,
		"a record that has failed does not hold up the hole behind it": `
			a lease 0 10 2-4 8
			a fails 2 -> attempt 1 of 3
			a acks
			committed -> 3
			kept -> 3 4-10 3*1
			after 1s
			free 20 -> 3 4
			b lease 3 4
			b acks
			committed -> 10`,
		"the record that a lost member was at is the oldest record": `
			a lease 0 10 2 5 8
			a acks 1
			a is lost -> attempt 1 of 5
			free 10 -> 8 10
			committed -> 5`,
		"what is given back gives its numbers back, and its holes": `
			a lease 0 10 2 5 8
			a gives back 4
			free 10 -> 4 10
			a open -> 1 messages, 10 bytes, from 1 of 1 on
			a lease 4 10 5 8
			a gives back 7
			free 10 -> 7 10
			a open -> 2 messages, 20 bytes, from 1 of 2 on
			a gives back 0
			a open -> 0 messages, 0 bytes, from 0 of 0 on
			free 10 -> 2 4`,
		"what is released is free with its holes": `
			a lease 0 10 2 5 8
			a acks 2-2
			a releases
			committed -> 2
			free 10 -> 2 5
			b lease 2 5 2
			b acks
			free 10 -> 8 10`,
		"leases that touch go on with the numbers over holes": `
			a lease 0 4 1
			a lease 4 6
			a lease 6 10 7-9
			a open -> 5 messages, 50 bytes, from 1 of 5 on
			a acks 2
			committed -> 5
			a acks 4
			committed -> 8
			a acks 5
			committed -> 10`,
		"a record that is claimed takes the hole behind it along": `
			a claims 0-3 x
			b claims 3-5 x -> waits
			b claims 5-8 y
			kept -> nothing
			free 10 -> 8 10
			b acks
			kept -> 0 4-8
			a acks
			committed -> 3
			free 10 -> 3 4
			b claims 3 x
			b acks
			committed -> 8`,
		"a hole within a lease is settled by the record before it when the log has lost it": `
			a lease 0 10 2 5
			missing 0 10
			committed -> 2
			a releases
			missing 0 10
			committed -> 10`,
		"what was leased with holes comes again after a restart without them": `
			a lease 0 10 2-4 6 8
			a acks 2-3
			kept -> 2 3-8
			restart
			free 10 -> 2 3
			b lease 2 3
			free 10 -> 8 10
			b lease 8 10 8
			b acks
			kept -> 10`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}
