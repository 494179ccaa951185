package commitlog

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"mbus/internal/store"
)

// Keys of topic.json, in this order. Those of an empty value are left out: "grown", which holds
// Topic.Epochs as PARTITION:EPOCH with spaces between, and "config". The last is the CRC of the topic's
// name and the other values. It is written and read here, and not by encoding/json, because a start reads
// one for each topic.
const (
	keyID         = `{"id":"`
	keyPartitions = `","partitions":`
	keyEpoch      = `,"epoch":`
	keyGrown      = `,"grown":"`
	keyConfig     = `,"config":`
	keyCRC        = `,"crc":"`
	lastKeys      = `"}`
)

// maxTopicFile is the size of the largest topic.json, in bytes.
const maxTopicFile = 4096

// encodeTopic returns the content of topic.json, without its LF.
func encodeTopic(t store.Topic) ([]byte, error) {
	if len(t.Config) > store.MaxConfig {
		return nil, fmt.Errorf("a configuration of %d bytes for topic %q, the limit is %d", len(t.Config), t.Name, store.MaxConfig)
	}
	var config []byte
	if t.Config != "" {
		var err error
		if config, err = json.Marshal(json.RawMessage(t.Config)); err != nil { // without spaces
			return nil, err
		}
	}
	id, grown := formatID(t.ID), formatEpochs(t.Epochs)
	p := make([]byte, 0, 128+len(grown)+len(config))
	p = append(append(p, keyID...), id...)
	p = strconv.AppendInt(append(p, keyPartitions...), int64(t.Partitions), 10)
	p = strconv.AppendInt(append(p, keyEpoch...), int64(t.Epoch), 10)
	if grown != "" {
		p = append(append(append(p, keyGrown...), grown...), '"')
	}
	if len(config) > 0 {
		p = append(append(p, keyConfig...), config...)
	}
	p = append(append(append(p, keyCRC...), topicCRC(t, id, grown, config)...), lastKeys...)
	if len(p) >= maxTopicFile {
		return nil, fmt.Errorf("%s of topic %q has %d bytes, the limit is %d", topicName, t.Name, len(p), maxTopicFile)
	}
	return p, nil
}

// topicCRC is the checksum in topic.json, in hexadecimal.
func topicCRC(t store.Topic, id, grown string, config []byte) string {
	text := make([]byte, 0, 64+len(t.Name)+len(grown)+len(config))
	text = append(append(append(text, t.Name...), ' '), id...)
	text = strconv.AppendInt(append(text, ' '), int64(t.Partitions), 10)
	text = strconv.AppendInt(append(text, ' '), int64(t.Epoch), 10)
	if grown != "" || len(config) > 0 {
		text = append(append(append(append(text, ' '), grown...), ' '), config...)
	}
	return hexSum(text)
}

// hexSum is the CRC-32C of a text in eight hexadecimal digits.
func hexSum(text []byte) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(text, castagnoli)))
}

// decodeTopic reads what encodeTopic wrote for the topic of this name.
func decodeTopic(name, content string) (t store.Topic, ok bool) {
	head, tail, _ := strings.Cut(content, keyPartitions)
	partitions, tail, _ := strings.Cut(tail, keyEpoch)
	tail = tail[:max(0, len(tail)-len(keyCRC+"01234567"+lastKeys))]
	values, config, _ := strings.Cut(tail, keyConfig)
	epoch, grown, _ := strings.Cut(values, keyGrown)
	n, _ := strconv.ParseInt(epoch, 10, 32)
	t = store.Topic{Name: name, Epoch: int32(n), Epochs: parseEpochs(strings.TrimSuffix(grown, `"`)), Config: strings.Clone(config)}
	t.Partitions, _ = strconv.Atoi(partitions)
	t.ID, ok = parseID(strings.TrimPrefix(head, keyID))
	want, err := encodeTopic(t) // what was not written so differs
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
