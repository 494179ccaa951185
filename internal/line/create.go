package line

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/units"
)

// The options of ?create that set what a topic has for itself.
var settingOptions = map[string]option{
	"retention":        age(broker.ConfigRetention),
	"retention-unread": age(broker.ConfigRetentionUnread),
	"retention-bytes": func(r *request, value string) error {
		n, err := units.ParseSize(value)
		if err != nil {
			return fmt.Errorf("%w, not %q", err, value)
		}
		r.admin.configure(broker.ConfigRetentionBytes, n)
		return nil
	},
}

// age is an option that sets a duration, which Kafka counts in milliseconds: less than
// one is refused, because it would be 0, which is never.
func age(name string) option {
	return func(r *request, value string) error {
		if value == "0" {
			r.admin.configure(name, 0)
			return nil
		}
		d, err := duration(value)
		if err == nil && d < time.Millisecond {
			err = fmt.Errorf("it takes 1ms or more, or 0, not %q", value)
		}
		if err == nil {
			r.admin.configure(name, d.Milliseconds())
		}
		return err
	}
}

// configure sets what the topic is to have for itself. 0 stands for never, or for no
// bound, as in the broker's flags.
func (r *adminRequest) configure(name string, value int64) {
	if r.config == nil {
		r.config = make(map[string]string)
	}
	if value == 0 && name != broker.ConfigRetentionUnread { // where 0 means that of all others
		value = -1
	}
	r.config[name] = strconv.FormatInt(value, 10)
}

func (c *conn) createTopic(r *request) error {
	if err := c.view.CheckCreation(r.topic, r.admin.total, r.admin.config); err != nil {
		return fmt.Errorf("%w: %q", err, r.topic)
	}
	partitions := r.admin.total
	if partitions == 0 {
		partitions = c.broker.Options().Partitions
	}
	t := newTable(r, "topic", "partitions", "settings")
	t.row(r.topic, partitions, settingsOf(r.admin.config))
	if r.named["execute"] {
		if _, err := c.view.CreateTopic(r.topic, r.admin.total, r.admin.config); err != nil {
			return fmt.Errorf("%w: %q", err, r.topic)
		}
	}
	t.preview(r)
	return c.sayTable(t)
}

// settingsOf are what a topic has set for itself, as a field of a table.
func settingsOf(config map[string]string) string {
	if len(config) == 0 {
		return "-"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(config)) {
		all = append(all, name+"="+config[name])
	}
	return strings.Join(all, " ")
}
