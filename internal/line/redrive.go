package line

import (
	"fmt"
	"strings"

	"mbus/internal/delivery"
)

// redrive serves a request with the option redrive.
func (c *conn) redrive(r *request) error {
	if !c.server.finish(c) {
		return errorLinef("SHUTDOWN", "the broker is stopping")
	}
	done, err := c.server.hub.Redrive(c.deliveryOptions(r), r.toAll, func(moved uint64) error {
		return c.writeLine(fmt.Sprintf("+%d\n", moved))
	})
	end := stayLines(done.Stays)
	if done.Moved == 0 && err == nil {
		end = "+0\n" + end
	}
	if e := c.writeLine(end); e != nil {
		return e
	}
	if err == nil {
		err = done.Err()
	}
	return forClient(err)
}

// stayLines are for people: how many letters stay, why, and what to do about each.
func stayLines(s delivery.Stays) string {
	var b strings.Builder
	for _, r := range s.Reasons {
		fmt.Fprintf(&b, "# %s: %s\n", howMany(r.Letters), oneLine(r.Error()))
	}
	if s.Others > 0 {
		fmt.Fprintf(&b, "# %s for other reasons\n", howMany(s.Others))
	}
	return b.String()
}

func howMany(letters int64) string {
	if letters == 1 {
		return "1 letter stays"
	}
	return fmt.Sprintf("%d letters stay", letters)
}
