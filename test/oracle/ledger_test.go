package oracle

import (
	"slices"
	"testing"
)

// The judge must not be blind itself.
func TestLedgerSeesEveryKindOfLoss(t *testing.T) {
	l := NewLedger("orders")
	var all []string
	first := -1
	for range 5 {
		n := l.Send("p", first)
		first = 0
		l.Acknowledge("p", n)
		all = append(all, l.Message("p", n, 60))
	}
	other := NewLedger("bills")
	other.Send("p", -1)
	for name, c := range map[string]struct {
		read []string
		want Tally
	}{
		"whole":      {all, Tally{}},
		"lost end":   {all[:4], Tally{Lost: 1}},
		"hole":       {slices.Delete(slices.Clone(all), 2, 3), Tally{Lost: 1, Holes: 1}},
		"duplicate":  {append(slices.Clone(all), all[4]), Tally{Duplicates: 1}},
		"reordered":  {[]string{all[1], all[0], all[2], all[3], all[4]}, Tally{Reordered: 1}},
		"phantom":    {append(slices.Clone(all), other.Message("p", 0, 60)), Tally{Phantoms: 1}},
		"flipped":    {append(slices.Clone(all[:4]), all[4][:20]+"X"+all[4][21:]), Tally{Phantoms: 1, Lost: 1}},
		"never sent": {append(slices.Clone(all), l.Message("p", 5, 60)), Tally{Phantoms: 1}},
		"cut":        {append(slices.Clone(all[:4]), all[4][:30]), Tally{Phantoms: 1, Lost: 1}},
	} {
		got := l.Judge(c.read)
		got.Runs, got.Read, got.Acked = 0, 0, 0
		if got != c.want {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
	}
}
