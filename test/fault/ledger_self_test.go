package fault

import (
	"slices"
	"testing"
)

// The judge must not be blind itself.
func TestLedgerSeesEveryKindOfLoss(t *testing.T) {
	l := newLedger("orders")
	var all []string
	first := -1
	for range 5 {
		n := l.send("p", first)
		first = 0
		l.acknowledge("p", n)
		all = append(all, l.message("p", n, 60))
	}
	other := newLedger("bills")
	other.send("p", -1)
	for name, c := range map[string]struct {
		read []string
		want tally
	}{
		"whole":      {all, tally{}},
		"lost end":   {all[:4], tally{Lost: 1}},
		"hole":       {slices.Delete(slices.Clone(all), 2, 3), tally{Lost: 1, Holes: 1}},
		"duplicate":  {append(slices.Clone(all), all[4]), tally{Duplicates: 1}},
		"reordered":  {[]string{all[1], all[0], all[2], all[3], all[4]}, tally{Reordered: 1}},
		"phantom":    {append(slices.Clone(all), other.message("p", 0, 60)), tally{Phantoms: 1}},
		"flipped":    {append(slices.Clone(all[:4]), all[4][:20]+"X"+all[4][21:]), tally{Phantoms: 1, Lost: 1}},
		"never sent": {append(slices.Clone(all), l.message("p", 5, 60)), tally{Phantoms: 1}},
		"cut":        {append(slices.Clone(all[:4]), all[4][:30]), tally{Phantoms: 1, Lost: 1}},
	} {
		got := l.judge(c.read)
		got.Runs, got.Read, got.Acked = 0, 0, 0
		if got != c.want {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
	}
}
