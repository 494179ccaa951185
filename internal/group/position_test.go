package group_test

import "testing"

func TestPosition(t *testing.T) {
	for name, text := range map[string]string{
		"a new one begins at 0 and is kept nowhere": `
			committed -> 0
			free 10 -> 0 10
			writes -> 0`,
		"nothing is free at the end": `
			free 0 -> nothing
			a lease 0 5
			a acks
			free 5 -> nothing
			free 3 -> nothing
			free 6 -> 5 6`,
		"what is leased is not free": `
			a lease 0 5
			free 10 -> 5 10
			b lease 5 7
			free 10 -> 7 10
			committed -> 0`,
		"what the log lost counts as consumed, unless a member holds it": `
			a lease 0 10
			a fails 3 -> attempt 1 of 2
			a acks 2
			a fails 6 -> attempt 1 of 5
			a gives back 8
			b lease 8 9
			free 20 -> 9 20
			missing 0 12
			a releases
			free 20 -> 3 5
			b releases
			free 20 -> 3 5
			missing 0 12
			committed -> 12
			after 9s
			free 20 -> 12 20
			kept -> 12`,
		"what the log lost in the middle leaves the rest as it is": `
			a lease 0 10
			a fails 1 -> attempt 1 of 0
			a fails 4 -> attempt 1 of 3
			a fails 9 -> attempt 1 of 8
			a releases
			missing 2 7
			kept -> 0 2-7 0*1 8*1
			free 20 -> 1 2
			after 9s
			free 20 -> 0 2`,
		"what waits for a key that was lost goes on": `
			a claims 0 x
			b claims 1 x -> waits
			b claims 2 x -> waits
			a fails 1 -> attempt 1 of 0
			missing 0 2
			committed -> 2
			free 3 -> 2 3
			b claims 2 x`,
		"free stops where somebody holds something": `
			a lease 0 2
			b lease 6 8
			free 10 -> 2 6
			free 4 -> 2 4
			c lease 2 6
			free 10 -> 8 10
			free 8 -> nothing`,
		"free goes on behind spans that touch": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			free 10 -> 6 10`,
		"a lease of what somebody holds a part of is refused": `
			a lease 3 6
			b lease 2 4 -> refused
			b lease 5 7 -> refused
			b lease 3 6 -> refused
			b lease 4 5 -> refused
			b lease 0 10 -> refused
			a lease 4 5 -> refused
			b lease 0 3
			b lease 6 9
			free 10 -> 9 10`,
		"a lease below the committed offset is refused": `
			a lease 0 5
			a acks
			b lease 0 5 -> refused
			b lease 4 6 -> refused
			b lease 5 6`,
		"an empty lease is refused": `
			a lease 3 3 -> refused
			a lease 3 2 -> refused
			free 10 -> 0 10`,
		"what is acknowledged is not free again": `
			a lease 0 5
			a acks
			free 10 -> 5 10
			committed -> 5
			kept -> 5`,
		"all that a member holds is acknowledged at once": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			a lease 8 9
			a acks
			committed -> 2
			kept -> 2 4-6 8-9
			b acks
			committed -> 6
			kept -> 6 8-9
			free 10 -> 6 8`,
		"acknowledged out of turn it waits for what is before": `
			a lease 0 3
			b lease 3 6
			b acks
			committed -> 0
			kept -> 0 3-6
			free 10 -> 6 10
			a acks
			committed -> 6
			kept -> 6`,
		"what is acknowledged out of turn is not given out again when what is before is released": `
			a lease 0 3
			b lease 3 6
			b acks
			a releases
			free 10 -> 0 3
			c lease 0 10 -> refused
			c lease 0 3
			c acks
			committed -> 6`,
		"acknowledged spans that touch are kept as one": `
			a lease 0 1
			b lease 1 2
			c lease 2 3
			b acks
			kept -> 0 1-2
			c acks
			kept -> 0 1-3
			a acks
			kept -> 3`,
		"leases of two members that touch stay apart": `
			a lease 0 3
			b lease 3 6
			a releases
			free 10 -> 0 3
			b acks
			committed -> 0
			free 10 -> 0 3`,
		"released, it is free": `
			a lease 0 3
			b lease 3 6
			a releases
			free 10 -> 0 3
			b releases
			free 10 -> 0 10
			writes -> 0`,
		"a member that holds nothing changes nothing": `
			a lease 0 3
			b releases
			b gives back 0
			b acks
			free 10 -> 3 10
			committed -> 0
			writes -> 0`,
		"a second acknowledgement writes nothing": `
			a lease 0 3
			a acks
			a acks
			a releases
			committed -> 3
			writes -> 1`,
		"given back from the middle of a span": `
			a lease 0 6
			a gives back 4
			free 10 -> 4 10
			b lease 4 6
			a acks
			committed -> 4`,
		"given back over several spans": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			a lease 8 9
			a gives back 5
			free 10 -> 5 10
			b gives back 0
			free 10 -> 2 4
			a acks
			kept -> 2 4-5`,
		"given back is what was leased last, not what lies above": `
			a lease 10 14
			a lease 3 6
			a gives back 3
			free 10 -> 0 10
			a open -> 4 messages, 40 bytes, from 1 of 4 on
			b lease 10 11 -> refused`,
		"numbers of what was given back are given again": `
			a lease 0 5
			a gives back 3
			a open -> 3 messages, 30 bytes, from 1 of 3 on
			a lease 7 9
			a acks 4
			kept -> 3 7-8
			a open -> 1 messages, 10 bytes, from 5 of 5 on`,
		"acknowledged are the first messages of the member": `
			a lease 0 3
			b lease 3 6
			a lease 6 9
			a acks 5
			kept -> 3 6-8
			b acks 1
			kept -> 4 6-8
			a acks 5
			a acks 2
			kept -> 4 6-8
			a acks 6
			kept -> 4 6-9`,
		"an acknowledgement of what was not sent is refused": `
			a lease 0 3
			a acks 4 -> not sent yet: 3 were
			b acks 1 -> not sent yet: 0 were
			committed -> 0
			a acks 3
			committed -> 3`,
		"an acknowledgement after a release changes nothing": `
			a lease 0 3
			a releases
			b lease 0 2
			a acks 3
			a open -> 0 messages, 0 bytes, from 0 of 3 on
			committed -> 0
			b acks
			committed -> 2`,
		"it begins where the first says": `
			start 5
			free 10 -> 5 10
			writes -> 0
			start 2
			free 10 -> 2 10
			start and keep 7
			kept -> 7
			start 0
			free 10 -> 7 10`,
		"it does not begin again while a member holds something": `
			a lease 0 3
			start 5
			free 10 -> 3 10
			a releases
			start 5
			free 10 -> 5 10`,
		"a commit sets it, and forgets what was leased": `
			a lease 0 6
			a acks 4
			a fails 5 -> attempt 1 of 4
			b lease 6 8
			b acks
			commit 2
			free 10 -> 2 10
			kept -> 2
			a acks
			committed -> 2
			after 10s
			free 10 -> 2 10`,
		"deleted it begins at 0, and nothing is kept": `
			a lease 0 5
			a acks 3
			kept -> 3
			delete
			kept -> nothing
			free 10 -> 0 10
			a acks
			kept -> nothing
			restart
			committed -> 0`,
		"deleted and made again before that is written": `
			a lease 0 5
			a acks
			disk waits
			b lease 5 6
			b acks
			delete
			c lease 0 2
			c acks
			disk goes on
			kept -> 2`,
		"given back from below all is released": `
			a lease 3 6
			a gives back 0
			free 10 -> 0 10`,
		"given back from above all stays": `
			a lease 0 6
			a gives back 6
			free 10 -> 6 10`,
		"the rest of a member's lease may be extended": `
			a lease 0 2
			a lease 2 4
			a gives back 3
			a lease 3 5
			a acks
			committed -> 5
			kept -> 5`,
		"others are those who hold something below the end": `
			others a 10 -> nobody
			a lease 0 3
			others a 10 -> nobody
			others b 10 -> somebody
			b lease 5 7
			others a 5 -> nobody
			others a 6 -> somebody
			b acks
			others a 10 -> nobody`,
		"a restart forgets leases": `
			a lease 0 3
			a acks
			a lease 3 6
			restart
			committed -> 3
			free 10 -> 3 10`,
		"a restart forgets nothing that was acknowledged out of turn": `
			a lease 0 3
			b lease 3 6
			c lease 6 8
			b acks
			a gives back 0
			c gives back 0
			a lease 8 9
			a acks
			kept -> 0 3-6 8-9
			restart
			committed -> 0
			free 10 -> 0 3
			a lease 0 3
			free 10 -> 6 8
			a acks
			committed -> 6
			kept -> 6 8-9`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}
