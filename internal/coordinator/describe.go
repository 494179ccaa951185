package coordinator

import (
	"cmp"
	"slices"
)

// A Description is the state of a group at one moment. Its slices of bytes must not be
// changed.
type Description struct {
	State        State
	ProtocolType string // Kafka's protocol type
	Protocol     string // while there is an assignment
	Members      []Described
}

// Described is one member.
type Described struct {
	Member, Instance     string
	Client, Host         string
	Metadata, Assignment []byte // while there is an assignment
}

// Describe fails with ErrUnknownGroup, and with ErrGroupName or ErrClosed.
func (c *Coordinator) Describe(groupName string) (Description, error) {
	c.mu.Lock()
	defer c.unlock()
	g, err := c.find(groupName)
	if err != nil {
		return Description{State: Dead}, err
	}
	d := Description{State: g.state, ProtocolType: g.protocolType, Members: make([]Described, len(g.members))}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for i, m := range g.members {
		d.Members[i] = Described{Member: m.id, Instance: m.instance, Client: m.client, Host: m.host}
		if g.state == Stable {
			d.Members[i].Metadata, d.Members[i].Assignment = m.metadata(g.protocol), m.assignment
		}
	}
	return d, nil
}

// Listed is a group in a list.
type Listed struct {
	Group, ProtocolType string
	State               State
}

// List returns all groups that have members, or had some within emptyTime, by name.
func (c *Coordinator) List() []Listed {
	c.mu.Lock()
	defer c.unlock()
	list := make([]Listed, 0, len(c.groups))
	for _, g := range c.groups {
		list = append(list, Listed{g.name, g.protocolType, g.state})
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(a.Group, b.Group) })
	return list
}
