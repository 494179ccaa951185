package commitlog

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"mbus/internal/store"
)

// A topicFile is what topic.json holds.
type topicFile struct {
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Epoch      int32  `json:"epoch"`
	Grown      string `json:"grown,omitempty"` // Epochs, as PARTITION:EPOCH with spaces between

	Config json.RawMessage `json:"config,omitempty"`
	CRC    string          `json:"crc"` // of the topic's name and the other fields
}

// maxTopicFile is the size of the largest topic.json, in bytes.
const maxTopicFile = 4096

// encodeTopic returns the content of topic.json, without its LF.
func encodeTopic(t store.Topic) ([]byte, error) {
	tf := topicFile{ID: formatID(t.ID), Partitions: t.Partitions, Epoch: t.Epoch, Grown: formatEpochs(t.Epochs)}
	text := fmt.Appendf(nil, "%s %s %d %d", t.Name, tf.ID, tf.Partitions, tf.Epoch)
	if len(t.Config) > store.MaxConfig {
		return nil, fmt.Errorf("a configuration of %d bytes for topic %q, the limit is %d", len(t.Config), t.Name, store.MaxConfig)
	}
	if t.Config != "" {
		config, err := json.Marshal(json.RawMessage(t.Config)) // without spaces
		if err != nil {
			return nil, err
		}
		tf.Config = config
	}
	if tf.Grown != "" || t.Config != "" {
		text = fmt.Appendf(text, " %s %s", tf.Grown, tf.Config)
	}
	tf.CRC = fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli))
	content, err := json.Marshal(tf)
	if err == nil && len(content) >= maxTopicFile {
		err = fmt.Errorf("%s of topic %q has %d bytes, the limit is %d", topicName, t.Name, len(content), maxTopicFile)
	}
	return content, err
}

// decodeTopic reads what encodeTopic wrote for the topic of this name.
func decodeTopic(name, content string) (t store.Topic, ok bool) {
	var tf topicFile
	if err := json.Unmarshal([]byte(content), &tf); err != nil {
		return t, false
	}
	t = store.Topic{Name: name, Partitions: tf.Partitions, Epoch: tf.Epoch, Epochs: parseEpochs(tf.Grown), Config: string(tf.Config)}
	t.ID, ok = parseID(tf.ID)
	want, err := encodeTopic(t)
	return t, ok && err == nil && t.Partitions > 0 && content == string(want)
}

func formatEpochs(list []store.EpochStart) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = fmt.Sprintf("%d:%d", s.Partition, s.Epoch)
	}
	return strings.Join(words, " ")
}

// parseEpochs reads what formatEpochs has made; decodeTopic sees whether that is so.
func parseEpochs(text string) (list []store.EpochStart) {
	for word := range strings.FieldsSeq(text) {
		var s store.EpochStart
		_, _ = fmt.Sscanf(word, "%d:%d", &s.Partition, &s.Epoch)
		list = append(list, s)
	}
	return list
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() (id [16]byte) {
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func formatID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
