package jetstream

import (
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// aliveTime is how old the last heartbeat of a node that is alive may be.
const aliveTime = 5 * time.Second

// peers gives all nodes, if this server leads them; else none.
func (s *embedded) peers() (all []peer) {
	if !s.JetStreamIsLeader() { // also without streams
		return nil
	}
	z, err := s.Jsz(nil)
	if err != nil || z.Meta == nil || z.Meta.Leader != s.Name() {
		return nil
	}
	all = append(all, peer{s.Node(), true, true})
	for _, r := range z.Meta.Replicas {
		all = append(all, peer{r.Peer, r.Current && !r.Offline, r.Active > 0 && r.Active < aliveTime && !r.Offline}) // 0: never
	}
	return all
}

// streams gives the streams of which this server has a replica.
func (s *embedded) streams() (all []server.StreamDetail) {
	z, err := s.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true, Config: true})
	if err != nil {
		return nil
	}
	for _, d := range z.Streams {
		if d.Cluster != nil && strings.HasPrefix(d.Name, streamPrefix) {
			all = append(all, d)
		}
	}
	return all
}

// load sums up the streams.
func (s *embedded) load() (l load) {
	for _, d := range s.streams() {
		l.Streams++
		switch d.Cluster.Leader {
		case "":
			l.Orphans++
		case s.Name():
			l.Leads++
			for _, r := range d.Cluster.Replicas {
				if r.Current && !r.Offline {
					continue
				}
				if l.Behind == nil {
					l.Behind = make(map[string]uint64)
				}
				l.Behind[r.Peer] += r.Lag
			}
		}
	}
	return l
}
