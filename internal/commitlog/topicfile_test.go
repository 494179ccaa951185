package commitlog_test

import (
	"encoding/json"
	"strings"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// What is in topic.json is JSON, and nothing else is read than what was written.
func TestTopicFileIsJSONAndReadAsWritten(t *testing.T) {
	id := [16]byte{0xdb, 0x75, 0x42, 15: 0xff}
	for _, want := range []store.Topic{
		{Name: "a", ID: id, Partitions: 1, Epoch: 1},
		{Name: "b", ID: id, Partitions: 12, Epoch: 28780801, Config: `{"retention.ms":"1","crc":"<&>"}`},
		{Name: "c", ID: id, Partitions: 9, Epoch: 3, Epochs: []store.EpochStart{{Partition: 4, Epoch: 7}, {Partition: 6, Epoch: 9}}},
		{Name: "d", ID: id, Partitions: 9, Epoch: 3, Epochs: []store.EpochStart{{Partition: 4, Epoch: 7}}, Config: `{"x":",\"config\":"}`},
	} {
		content, err := commitlog.EncodeTopic(want)
		if err != nil {
			t.Fatal(err)
		}
		var fields struct {
			ID         string
			Partitions int
			Epoch      int32
			Grown      string
			Config     json.RawMessage
			CRC        string
		}
		if err := json.Unmarshal(content, &fields); err != nil || fields.Partitions != want.Partitions || fields.Epoch != want.Epoch || len(fields.CRC) != 8 {
			t.Errorf("%s is not its JSON: %+v, %v", content, fields, err)
		}
		got, ok := commitlog.DecodeTopic(want.Name, string(content))
		want.Config = string(fields.Config)
		if !ok || !got.Equal(&want) || got.Config != want.Config {
			t.Errorf("%s is read as %+v, %v", content, got, ok)
		}
		for i := range content {
			for _, bad := range []string{
				string(content[:i]), string(content[:i]) + " " + string(content[i:]),
				string(content[:i]) + string(content[i]^1) + string(content[i+1:]), string(content[:i]) + string(content[i+1:]),
			} {
				if _, ok := commitlog.DecodeTopic(want.Name, bad); ok {
					t.Errorf("%s is taken for what was written", bad)
				}
			}
		}
		if _, ok := commitlog.DecodeTopic("other", string(content)); ok {
			t.Errorf("%s is taken for another topic's", content)
		}
	}
	if _, err := commitlog.EncodeTopic(store.Topic{Name: "e", Partitions: 1, Config: `"` + strings.Repeat("x", 5000) + `"`}); err == nil {
		t.Error("a file that is too large is written")
	}
}

func FuzzTopicFile(f *testing.F) {
	for _, content := range []string{
		`{"id":"db7542f5-16ee-4cb0-b96c-2fd2f20b3208","partitions":1,"epoch":28780801,"crc":"644850d1"}`, `{"id":"`, `","partitions":`, `,"epoch":,"grown":"1:2","config":{},"crc":"00000000"}`,
	} {
		f.Add("topic-5", content)
	}
	f.Fuzz(func(t *testing.T, name, content string) {
		if topic, ok := commitlog.DecodeTopic(name, content); ok {
			again, err := commitlog.EncodeTopic(topic)
			if err != nil || string(again) != content {
				t.Errorf("%q is written as %q, %v", content, again, err)
			}
		}
	})
}
