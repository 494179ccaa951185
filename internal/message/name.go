// Package message owns what both ends of a line protocol connection must agree
// on about a message: how topics and groups are named, and a record's form as a
// line of JSON.
package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxName is the length in bytes that a topic's or group's name may have: with
// a partition's number behind it, it is still a file name.
const MaxName = 249

const nameRule = "it takes 1 to 249 of A-Z a-z 0-9 . _ - and not . or .."

// CheckName reports why name can't be the name of a topic or a group; what says
// which of the two it is.
func CheckName(what, name string) error {
	ok := name != "" && len(name) <= MaxName && name != "." && name != ".."
	for i := 0; ok && i < len(name); i++ {
		ok = inName(name[i])
	}
	if !ok {
		return fmt.Errorf("invalid %s name %q: %s", what, name, nameRule)
	}
	return nil
}

func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// IsInternal says whether the topic of a name is the broker's own: one that it has, one
// that Kafka has for the like, or one of those that are kept for it. Other names that begin
// with two underscores are anybody's: Kafka's tools have some.
func IsInternal(name string) bool {
	switch name {
	case "__consumer_offsets", "__delayed", "__transaction_state", "__share_group_state", "__cluster_metadata":
		return true
	}
	return strings.HasPrefix(name, "__mbus")
}

// DeadLetters ends the name of the topic that holds the dead letters of another one.
const DeadLetters = ".dlq"

// DeadLettersOf names the topic that holds the dead letters of a topic: the same with
// DeadLetters behind it or, where that is longer than a name may be, the beginning of it, a dot
// and 12 digits of its SHA-256. So every topic can have one, also those of Kafka clients,
// for which 249 bytes are usual.
func DeadLettersOf(topic string) string {
	const digits = 12
	if len(topic)+len(DeadLetters) <= MaxName {
		return topic + DeadLetters
	}
	sum := sha256.Sum256([]byte(topic))
	return topic[:MaxName-len(DeadLetters)-digits-1] + "." + hex.EncodeToString(sum[:])[:digits] + DeadLetters
}
