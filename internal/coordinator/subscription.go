package coordinator

import (
	"encoding/binary"
	"slices"
)

// Consumer is the protocol type of clients that consume topics. Their metadata begins with
// the topics that they subscribe to.
const Consumer = "consumer"

// topics reads the topics of a consumer's metadata, which is a ConsumerProtocolSubscription.
// Each version of it begins with the version in two bytes and an array of strings: a count in
// four bytes, and for each string its length in two. Only other clients read the rest. ok is
// false for other metadata.
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

// sameTopics reports whether a returning member can keep its assignment: it offers the same
// protocols with the same topics. The rest of its metadata, such as the partitions that it
// owned, has changed because it was restarted.
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

// Subscribed returns the topics that the members of a group read. ok is false if the group
// has members whose topics are not known.
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
			if !ok || g.protocolType != Consumer {
				return nil, false
			}
			for _, name := range found {
				names[name] = true
			}
		}
	}
	return names, true
}
