package storetest

import (
	"strings"

	"mbus/internal/store"
)

var alterTests = []test{
	{"a topic that grows keeps what it has, and its partitions go on", growsTopic},
	{"a topic grows again and again", growsAgain},
	{"a topic does not shrink", keepsPartitions},
	{"a topic has the configuration it was made with", keepsConfig},
	{"a configuration is replaced as a whole", replacesConfig},
	{"a configuration that is no JSON, or too large, is refused", refusesConfig},
	{"an unknown topic is not altered", altersNoOther},
	{"a deleted topic leaves no configuration", forgetsConfig},
}

// grow gives a topic more partitions.
func (f *fixture) grow(name string, total int) {
	f.Helper()
	got, err := f.AddPartitions(name, total)
	if err != nil {
		f.Fatalf("grow topic %q: %v", name, err)
	}
	m := f.topics[name]
	for i := range total {
		if i < m.Partitions && got.PartitionEpoch(i) != m.PartitionEpoch(i) || i > 0 && got.PartitionEpoch(i) <= got.PartitionEpoch(i-1) {
			f.Fatalf("partition %d of %+v, before %+v, has the epoch %d", i, got, m.Topic, got.PartitionEpoch(i))
		}
	}
	m.Partitions, m.Epochs = total, got.Epochs
	if !got.Equal(&m.Topic) {
		f.Fatalf("grown to %d partitions the topic is %+v, want %+v", total, got, m.Topic)
	}
	for len(m.logs) < total {
		m.logs = append(m.logs, &log{t: f.T, now: f.now})
	}
	f.connect()
}

// configure replaces a topic's configuration.
func (f *fixture) configure(name, config string) {
	f.Helper()
	if err := f.Configure(name, config); err != nil {
		f.Fatalf("configure topic %q: %v", name, err)
	}
	f.topics[name].Config = config
}

func growsTopic(f *fixture) {
	m := f.create("orders", 2)
	f.create("other", 1)
	old := m.logs[0].Partition
	m.logs[0].append(f.Batch(3, 100))
	f.grow("orders", 4)
	if m.logs[0].Partition != old {
		f.Error("a partition is another one than before")
	}
	f.check()
	for _, l := range m.logs {
		l.append(f.Batch(2, 50))
	}
	f.restart()
	for _, l := range m.logs {
		l.append(f.Batch(2, 50))
	}
}

func growsAgain(f *fixture) {
	f.create("orders", 1)
	for total := 2; total < 6; total++ {
		f.grow("orders", total)
		f.topics["orders"].logs[total-1].append(f.Batch(1, 10))
		if total%2 == 0 {
			f.restart()
		}
	}
	f.delete("orders")
	f.restart()
	f.create("orders", 1)
	f.grow("orders", 2)
	f.check() // both empty
}

func keepsPartitions(f *fixture) {
	f.create("orders", 3)
	for _, total := range []int{3, 2, 0, -1} {
		if _, err := f.AddPartitions("orders", total); err == nil {
			f.Errorf("a topic of 3 partitions has grown to %d", total)
		}
	}
	f.check()
}

func keepsConfig(f *fixture) {
	const config = `{"a":"1"}`
	made, err := f.CreateTopic("orders", 1, config)
	if err != nil || made.Config != config {
		f.Fatalf("%+v, %v", made, err)
	}
	f.topics["orders"] = &topic{Topic: made, logs: []*log{{t: f.T}}}
	f.connect()
	f.check()
	f.restart()
	f.grow("orders", 2)
}

func replacesConfig(f *fixture) {
	f.create("orders", 1)
	l := f.topics["orders"].logs[0]
	l.append(f.Batch(1, 10))
	for _, config := range []string{`{"a":"1"}`, `{"b":"2","c":"3"}`, ""} {
		f.configure("orders", config)
		f.check()
		f.restart()
		l.append(f.Batch(1, 10))
	}
}

func refusesConfig(f *fixture) {
	f.create("orders", 1)
	f.configure("orders", `{"a":"1"}`)
	for what, config := range map[string]string{
		"no JSON": "{", "too large": `{"a":"` + strings.Repeat("x", store.MaxConfig) + `"}`,
	} {
		if err := f.Configure("orders", config); err == nil {
			f.Errorf("%s: taken", what)
		}
		if _, err := f.CreateTopic("other", 1, config); err == nil {
			f.Errorf("%s: a topic was made", what)
		}
	}
	f.check()
}

func altersNoOther(f *fixture) {
	f.create("orders", 1)
	_, err := f.AddPartitions("order", 2)
	f.refuses("grow", err, store.ErrUnknownTopic)
	f.refuses("configure", f.Configure("order", "{}"), store.ErrUnknownTopic)
	f.Close()
	_, err = f.AddPartitions("orders", 2)
	f.refuses("grow a closed store's", err, store.ErrClosed)
	f.refuses("configure a closed store's", f.Configure("orders", "{}"), store.ErrClosed)
}

func forgetsConfig(f *fixture) {
	f.create("orders", 1)
	f.configure("orders", `{"a":"1"}`)
	f.delete("orders")
	f.create("orders", 1)
	f.check()
}
