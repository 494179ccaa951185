package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/group"
	"mbus/internal/message"
)

func groupOperations() []operation {
	paramTopic := param{name: "topic", about: "only in this topic", example: "orders"}
	return []operation{
		{
			id: "listGroups", method: http.MethodGet, path: "/groups", tag: "Operate",
			summary: "The groups, by name",
			params:  []param{paramTopic, paramAfter, paramLimit},
			answers: asJSON("the groups", groupList{}),
			serve:   listGroups,
		},
		{
			id: "getGroup", method: http.MethodGet, path: "/groups/{group}", tag: "Operate",
			summary: "A group: its members, and its position in each partition. GET /connections?group= has all of many members.",
			params: []param{
				paramTopic,
				{name: "after", about: "the positions go on behind this one, which the answer before had as next", example: "orders:0"},
				{name: "limit", about: "positions, and clients, at most, 1 to 1000; 1000 if not given", kind: "integer", example: "100"},
			},
			answers: asJSON("the group", groupDetails{}),
			serve:   getGroup,
		},
		{
			id: "resetGroup", method: http.MethodPost, path: "/groups/{group}/reset", tag: "Operate",
			summary: "Sets the positions of a group in a topic. The group must have no members.",
			params: []param{
				{name: "topic", about: "the topic", example: "orders", must: true},
				paramID,
				{name: "to", about: "the position, of one of these forms: beginning, end, an offset, -10 for the last 10, a duration back, a time, PARTITION:OFFSET,…", example: "-10", must: true},
				paramExecute,
			},
			answers: asJSON("the positions before and after", groupReset{}),
			changes: true, serve: planned(planReset),
		},
		{
			id: "deleteGroup", method: http.MethodDelete, path: "/groups/{group}", tag: "Operate",
			summary: "Deletes all positions of a group. The group must have no members.",
			params:  []param{paramExecute},
			answers: asJSON("the positions that were, or would be, deleted", groupDeletion{}),
			changes: true, serve: planned(planGroupDeletion),
		},
	}
}

// A groupSum is a group, with what it has to do in all its topics.
type groupSum struct {
	Group          string `json:"group"`
	Protocol       string `json:"protocol,omitempty"` // of the members: line or kafka
	Members        int    `json:"members"`
	Topics         int    `json:"topics"`
	Lag            int64  `json:"lag"`            // messages that are not consumed
	Unacknowledged int64  `json:"unacknowledged"` // of the lag, held by connections
	Waiting        int64  `json:"waiting"`        // of the lag: failed, or behind one with the same key
	Attempt        int    `json:"attempt"`        // the highest of a message that is not consumed; 1 where none has failed
	Lost           int64  `json:"lost"`           // removed before they were consumed, since the broker's start
}

type groupList struct {
	Groups []groupSum `json:"groups"`
	Next   string     `json:"next,omitempty"` // for parameter after, if there are more
}

// groupDetails are all that there is to say of a group.
type groupDetails struct {
	groupSum
	Clients   []groupClient `json:"clients"` // the members, or the first of them
	Positions []groupPlace  `json:"positions"`
	Next      string        `json:"next,omitempty"` // for parameter after, if there are more positions
}

// A groupClient is a member.
type groupClient struct {
	Client   string `json:"client"`
	Protocol string `json:"protocol"`
	Topic    string `json:"topic,omitempty"`
	Ordered  bool   `json:"ordered"`
}

// A groupPlace is a position of a group.
type groupPlace struct {
	Topic          string `json:"topic"`
	Partition      int    `json:"partition"`
	Position       int64  `json:"position"` // all below is consumed
	End            int64  `json:"end"`
	Lag            int64  `json:"lag"`
	Unacknowledged int64  `json:"unacknowledged"`
	Waiting        int64  `json:"waiting"`
	Members        int    `json:"members"`
	Attempt        int    `json:"attempt"`
	Lost           int64  `json:"lost"`
	OldestTime     int64  `json:"oldest_time,omitempty"` // of the first message that is not consumed, in milliseconds since 1970
}

// describeGroups are the groups by name, with the numbers of one topic or, with no name, of all.
func describeGroups(c *call, topic string, part listPart) groupList {
	lags := make(map[string][]broker.GroupLag)
	all, _ := c.view.Lag("", topic)
	for _, n := range all {
		lags[n.Group] = append(lags[n.Group], n)
	}
	list := groupList{Groups: []groupSum{}}
	for _, g := range c.view.Groups() {
		switch {
		case g.Name <= part.after || topic != "" && len(lags[g.Name]) == 0:
		case len(list.Groups) == part.limit:
			list.Next = list.Groups[part.limit-1].Group
			return list
		default:
			list.Groups = append(list.Groups, sumOf(g, lags[g.Name]))
		}
	}
	return list
}

// sumOf adds up the positions of a group.
func sumOf(g group.Listed, lags []broker.GroupLag) groupSum {
	s := groupSum{Group: g.Name, Members: g.Members, Protocol: g.Membership.Protocol, Attempt: 1}
	topics := make(map[string]bool)
	for _, n := range lags {
		topics[n.Topic] = true
		s.Lag += n.Lag
		s.Unacknowledged += n.Unacknowledged
		s.Waiting += n.Waiting
		s.Lost += n.Lost
		s.Attempt = max(s.Attempt, n.Attempt)
	}
	s.Topics = len(topics)
	return s
}

// usersOf finds the positions and the members of a group. The error is broker.ErrUnknownGroup.
func usersOf(v *broker.View, name, topic string) (lags []broker.GroupLag, members []group.Membership, err error) {
	if err := v.Allow(broker.Describe, broker.GroupResource, name); err != nil {
		return nil, nil, err
	}
	lags, found := v.Lag(name, topic)
	members = v.Members(name)
	if !found && len(members) == 0 && !v.KeepsGroup(name) {
		return nil, nil, fmt.Errorf("%w %q", broker.ErrUnknownGroup, name)
	}
	return lags, members, nil
}

// describeGroup is what there is to say of a group in a topic or, with no name, in all: a part of its positions,
// and sums of all.
func describeGroup(c *call, name, topic string, part listPart) (*groupDetails, error) {
	after, err := parsePlace(part.after)
	if err != nil {
		return nil, err
	}
	lags, members, err := usersOf(c.view, name, topic)
	if err != nil {
		return nil, err
	}
	listed := group.Listed{Name: name, Members: len(members)}
	d := &groupDetails{Clients: []groupClient{}, Positions: []groupPlace{}}
	for _, u := range members {
		listed.Membership = u
		if len(d.Clients) < part.limit {
			d.Clients = append(d.Clients, groupClient{u.Client, u.Protocol, u.Topic, u.Ordered})
		}
	}
	d.groupSum = sumOf(listed, lags)
	begin, _ := slices.BinarySearchFunc(lags, after, func(l broker.GroupLag, after group.Key) int {
		if c := cmp.Or(cmp.Compare(l.Topic, after.Topic), cmp.Compare(l.Partition, after.Partition)); c > 0 {
			return 1
		}
		return -1 // that one itself, too
	})
	for i := begin; i < len(lags); i++ {
		if i == begin+part.limit {
			last := d.Positions[part.limit-1]
			d.Next = fmt.Sprintf("%s:%d", last.Topic, last.Partition)
			break
		}
		d.Positions = append(d.Positions, placeOf(c, &lags[i]))
	}
	return d, nil
}

// parsePlace reads TOPIC:PARTITION; "" is before all.
func parsePlace(text string) (k group.Key, err error) {
	if text == "" {
		return k, nil
	}
	topic, number, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || message.CheckName("topic", topic) != nil {
		return k, badRequest("parameter %q: it takes TOPIC:PARTITION, not %q", "after", text)
	}
	return group.Key{Topic: topic, Partition: int(n)}, nil
}

func placeOf(c *call, n *broker.GroupLag) groupPlace {
	p := groupPlace{
		Topic: n.Topic, Partition: n.Partition, Position: n.Committed, End: n.End, Lag: n.Lag, Unacknowledged: n.Unacknowledged,
		Waiting: n.Waiting, Members: n.Members, Attempt: n.Attempt, Lost: n.Lost,
	}
	if ms, ok := c.view.OldestUnconsumed(n); ok {
		p.OldestTime = ms
	}
	return p
}

// topicParam is parameter topic; "" if it is not there.
func topicParam(c *call) (string, error) {
	if !c.query.Has("topic") {
		return "", nil
	}
	name := c.query.Get("topic")
	if err := message.CheckName("topic", name); err != nil {
		return "", badRequest("parameter %q: %w", "topic", err)
	}
	return name, nil
}

func listGroups(c *call) error {
	topic, err := topicParam(c)
	if err != nil {
		return err
	}
	part, err := readPart(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeGroups(c, topic, part))
}

func getGroup(c *call) error {
	name, err := c.group()
	if err != nil {
		return err
	}
	topic, err := topicParam(c)
	if err != nil {
		return err
	}
	part, err := readPart(c)
	if err != nil {
		return err
	}
	d, err := describeGroup(c, name, topic, part)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}

// A groupReset says where the positions of a group were set, or would be.
type groupReset struct {
	plan
	Group     string       `json:"group"`
	Topic     string       `json:"topic"`
	InUse     string       `json:"in_use,omitempty"` // why it can't be done now
	Positions []resetPlace `json:"positions"`

	moves []delivery.Move
}

type resetPlace struct {
	Partition int   `json:"partition"`
	Position  int64 `json:"position"` // before
	New       int64 `json:"new"`
}

// planReset says where the positions of a group would be after a reset.
func planReset(c *call) (*groupReset, error) {
	name, err := c.group()
	if err != nil {
		return nil, err
	}
	topic, err := topicParam(c)
	if err != nil {
		return nil, err
	}
	to, err := positionParam(c, "to")
	if err != nil {
		return nil, err
	}
	t, err := incarnationOf(c, topic, broker.Read)
	if err != nil {
		return nil, err
	}
	reset, err := delivery.PlanReset(c.view, name, t, to)
	if err != nil {
		return nil, err
	}
	done := &groupReset{plan: planFor(t), Group: name, Topic: topic, moves: reset.Moves}
	for i, m := range reset.Moves {
		done.Positions = append(done.Positions, resetPlace{i, m.From, m.To})
	}
	if err := c.view.CheckUnused(name); err != nil {
		done.InUse = err.Error()
	}
	done.do = func() error {
		if err := reset.Execute(); err != nil {
			return err
		}
		done.InUse = ""
		return nil
	}
	return done, nil
}

// A groupDeletion has the positions that were deleted, or would be.
type groupDeletion struct {
	plan
	Group     string         `json:"group"`
	Positions []deletedPlace `json:"positions"`
	InUse     string         `json:"in_use,omitempty"` // why it can't be done now
}

type deletedPlace struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Position  int64  `json:"position"`
}

// planGroupDeletion says what would be deleted with a group.
func planGroupDeletion(c *call) (*groupDeletion, error) {
	name, err := c.group()
	if err != nil {
		return nil, err
	}
	done := &groupDeletion{Group: name, Positions: []deletedPlace{}}
	var inUse *group.InUseError
	switch err := broker.CheckGroupDeletion(c.view, name); {
	case errors.As(err, &inUse): // members that may be gone are released for a deletion, not for a look
		done.InUse = err.Error()
	case err != nil:
		return nil, err
	}
	for _, p := range c.view.Positions(name) {
		done.Positions = append(done.Positions, deletedPlace{p.Topic, p.Partition, p.Committed})
	}
	done.do = func() error {
		if err := c.view.DeleteOffsets(name, nil); err != nil {
			return err
		}
		done.InUse = ""
		return nil
	}
	return done, nil
}

// isOfLetters says whether a topic has dead letters.
func isOfLetters(topic string) bool { return strings.HasSuffix(topic, message.DeadLetters) }
