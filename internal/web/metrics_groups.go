package web

import (
	"strconv"
	"time"

	"mbus/internal/broker"
)

var (
	metricLag            = gauge("mbus_group_lag_messages", "Messages that the group has not consumed.", "group", "topic")
	metricAge            = gauge("mbus_group_oldest_unconsumed_seconds", "Age of the oldest message that the group has not consumed; 0 if there is none.", "group", "topic")
	metricUnacknowledged = gauge("mbus_group_unacknowledged_messages", "Messages that members of the group hold and have not acknowledged.", "group", "topic")
	metricGroupDelayed   = gauge("mbus_group_delayed_messages", "Messages that have failed and wait for their next attempt, or wait behind a message with the same key.", "group", "topic")
	metricMembers        = gauge("mbus_group_members", "Members of the group, in all topics.", "group")
	metricRedelivered    = counter("mbus_group_redelivered_messages_total", "Messages that became free for another delivery because they had failed or were given back.", "group", "topic")
	metricDead           = counter("mbus_group_dead_lettered_messages_total", "Messages that went to the dead letters.", "group", "topic")
	metricLost           = counter("mbus_group_lost_messages_total", "Messages that retention removed before the group had consumed them.", "group", "topic")

	metricKafkaLag       = gauge("kafka_consumergroup_lag", "Same as mbus_group_lag_messages, for each partition, for dashboards of kafka_exporter.", "consumergroup", "partition", "topic")
	metricKafkaCommitted = gauge("kafka_consumergroup_current_offset", "Committed offset of the group, for dashboards of kafka_exporter.", "consumergroup", "partition", "topic")
)

// A groupTopic is the position of a group in all partitions of a topic.
type groupTopic struct {
	lag, unacknowledged, waiting, returned, dead, lost int64
	age                                                time.Duration
}

// groups collects those of the first groups and topics by name, and returns how many others there are.
func (s *scrape) groups(c *call, now time.Time) (leftOut int) {
	n := 0
	broker.EachLag(c.view, func(all []broker.GroupLag) { // of a group, sorted by topic
		for len(all) > 0 {
			end := 1
			for end < len(all) && all[end].Topic == all[0].Topic {
				end++
			}
			if n += end; n > c.server.series {
				leftOut++
			} else if !broker.Internal(all[0].Topic) {
				s.groupTopic(c, all[:end], now)
			}
			all = all[end:]
		}
	})
	members := 0
	for _, g := range c.view.Groups() {
		if members++; members > c.server.series {
			break
		}
		s.set(metricMembers, float64(g.Members), labels("group", g.Name))
	}
	return leftOut
}

func (s *scrape) groupTopic(c *call, partitions []broker.GroupLag, now time.Time) {
	var sum groupTopic
	for i := range partitions {
		l := &partitions[i]
		sum.lag += l.Lag
		sum.unacknowledged += l.Unacknowledged
		sum.waiting += l.Waiting
		sum.returned += l.Returned
		sum.dead += l.Dead
		sum.lost += l.Lost
		if ms, ok := c.view.OldestUnconsumed(l); ok {
			sum.age = max(sum.age, now.Sub(time.UnixMilli(ms)))
		}
		each := labels("consumergroup", l.Group, "partition", strconv.Itoa(l.Partition), "topic", l.Topic)
		s.set(metricKafkaLag, float64(l.Lag), each)
		s.set(metricKafkaCommitted, float64(l.Committed), each)
	}
	of := labels("group", partitions[0].Group, "topic", partitions[0].Topic)
	s.set(metricLag, float64(sum.lag), of)
	s.set(metricAge, sum.age.Seconds(), of)
	s.set(metricUnacknowledged, float64(sum.unacknowledged), of)
	s.set(metricGroupDelayed, float64(sum.waiting), of)
	s.set(metricRedelivered, float64(sum.returned), of)
	s.set(metricDead, float64(sum.dead), of)
	s.set(metricLost, float64(sum.lost), of)
}
