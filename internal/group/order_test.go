package group_test

import "testing"

func TestOrder(t *testing.T) {
	for name, text := range map[string]string{
		"a message waits for the one before with the same key": `
			a claims 0 x
			b claims 1 x -> waits
			b claims 2 y
			free 4 -> 3 4
			a acks
			free 4 -> 1 2
			b claims 1 x
			b acks
			kept -> 3`,
		"a message of another is refused": `
			a claims 0 x
			b claims 0 x -> refused
			b claims 1 x -> waits
			a claims 1 x -> refused`,
		"those that wait come in the order of their offsets": `
			a claims 0 x
			a claims 1 x -> waits
			b claims 2 x -> waits
			a acks
			free 3 -> 1 2
			b claims 1 x
			free 3 -> nothing
			b acks
			free 3 -> 2 3`,
		"one that is given back comes before those that wait for it": `
			a claims 0 x
			a claims 1 x -> waits
			a gives back 0
			free 3 -> 0 1
			b claims 0 x
			free 3 -> 2 3`,
		"those behind one that has failed wait": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			free 2 -> due in 1s
			after 1s
			free 2 -> 0 1
			a claims 0 x
			a acks
			free 2 -> 1 2`,
		"those behind one that is buried are free": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			log 2
			b rests
			bury 0
			woken -> b
			free 2 -> 1 2`,
		"when all have left nobody waits": `
			a claims 0 x
			a claims 1 x -> waits
			a leaves
			free 3 -> 0 3`,
		"when all have left, one that has failed is still not overtaken": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			a leaves
			free 3 -> 2 3
			b claims 2 x -> waits
			after 1s
			free 3 -> 0 1
			b claims 0 x
			b acks
			free 3 -> 1 2`,
		"after a commit nobody waits": `
			a claims 0 x
			a claims 1 x -> waits
			a releases
			commit 1
			b claims 1 x
			b acks
			committed -> 2`,
		"one that begins behind it does not wait for it": `
			a claims 0 x
			a releases
			start 1
			b claims 1 x
			b acks
			committed -> 2`,
		"who waits is woken when one is acknowledged": `
			log 3
			a claims 0 x
			a claims 1 x -> waits
			a claims 2 y
			b rests
			a acks 1
			woken -> b
			b claims 1 x
			b rests
			a acks 2
			woken -> nobody`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}
