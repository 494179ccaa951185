package coordinator

import (
	"encoding/binary"
	"slices"
)

// Consumer is the protocol type of those who consume topics, and whose metadata
// begin with the topics that they subscribe to.
const Consumer = "consumer"

// topics reads which topics a consumer subscribes to. Its metadata is a
// ConsumerProtocolSubscription in Kafka's words, of which every version begins
// with the version in two bytes and an array of strings: a count in four bytes,
// and for each its length in two. It is another client that has to understand
// the rest. ok is false if it is something else.
func topics(metadata []byte) (names []string, ok bool) {
	if len(metadata) < 6 {
		return nil, false
	}
	count, p := binary.BigEndian.Uint32(metadata[2:]), metadata[6:]
	for range count {
		if len(p) < 2 {
			return nil, false
		}
		n := int(binary.BigEndian.Uint16(p))
		if len(p) < 2+n {
			return nil, false
		}
		names = append(names, string(p[2:2+n]))
		p = p[2+n:]
	}
	return names, true
}

// sameTopics says whether a member that comes back needs no other part: it
// offers the same protocols, with the same topics. What else its metadata say,
// which partitions it owned above all, has changed because it was restarted.
func sameTopics(kind string, before, after []Protocol) bool {
	return slices.EqualFunc(before, after, func(a, b Protocol) bool {
		if a.Name != b.Name {
			return false
		}
		x, ok := topics(a.Metadata)
		y, also := topics(b.Metadata)
		if kind != Consumer || !ok || !also {
			return string(a.Metadata) == string(b.Metadata)
		}
		slices.Sort(x)
		slices.Sort(y)
		return slices.Equal(x, y)
	})
}

// Subscribed says which topics the members of a group read. ok is false if the
// group has members that can't be asked, and so may read any.
func (c *Coordinator) Subscribed(groupName string) (names map[string]bool, ok bool) {
	c.mu.Lock()
	defer c.unlock()
	names = make(map[string]bool)
	g, err := c.find(groupName)
	if err != nil {
		return names, true
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			found, ok := topics(p.Metadata)
			if !ok || g.kind != Consumer {
				return nil, false
			}
			for _, name := range found {
				names[name] = true
			}
		}
	}
	return names, true
}
