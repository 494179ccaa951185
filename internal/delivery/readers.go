package delivery

import "mbus/internal/broker"

// A Reader is a group whose members read a topic.
type Reader struct {
	Group   string
	Members int // or more: each may read some partitions
}

// ReadersOf lists the groups that read a topic now, by name.
func ReadersOf(v *broker.View, topic string) (all []Reader) {
	for _, n := range v.Positions("") {
		if n.Topic != topic || n.Members == 0 {
			continue
		}
		if len(all) == 0 || all[len(all)-1].Group != n.Group {
			all = append(all, Reader{Group: n.Group})
		}
		r := &all[len(all)-1]
		r.Members = max(r.Members, n.Members)
	}
	return all
}
