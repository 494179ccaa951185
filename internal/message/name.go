// Package message has the parts of a message that both ends of a line protocol connection
// share: the names of topics and groups, and the form of a record as a line of JSON.
package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxName is the longest name of a topic or group, in bytes: a file name has room for it and a
// partition's number.
const MaxName = 249

const nameRule = "it takes 1 to 249 of A-Z a-z 0-9 . _ - and not . or .."

// CheckName reports why name cannot be the name of a topic or a group; kind is "topic" or
// "group".
func CheckName(kind, name string) error {
	if !IsName(name) {
		return fmt.Errorf("invalid %s name %q: %s", kind, name, nameRule)
	}
	return nil
}

// IsName reports whether CheckName takes a name.
func IsName[T string | []byte](name T) bool {
	ok := len(name) > 0 && len(name) <= MaxName && string(name) != "." && string(name) != ".."
	for i := 0; ok && i < len(name); i++ {
		ok = inName(name[i])
	}
	return ok
}

func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// IsInternal reports whether a name is that of an internal topic: one of the broker's, one of a
// Kafka broker's, or a reserved one. Other names that begin with two underscores are ordinary:
// Kafka's tools have some.
func IsInternal(name string) bool {
	switch name {
	case "__consumer_offsets", "__delayed", "__transaction_state", "__share_group_state", "__cluster_metadata":
		return true
	}
	return strings.HasPrefix(name, "__mbus")
}

// DeadLetters is the end of the name of a topic for dead letters.
const DeadLetters = ".dlq"

// DeadLettersOf is the name of the topic for the dead letters of a topic: the topic's name and
// DeadLetters or, if that is longer than MaxName, the beginning of the name, a dot, 12 digits of
// its SHA-256 and DeadLetters. So each topic can have one, also with a name of 249 bytes.
func DeadLettersOf(topic string) string {
	const digits = 12
	if len(topic)+len(DeadLetters) <= MaxName {
		return topic + DeadLetters
	}
	sum := sha256.Sum256([]byte(topic))
	return topic[:MaxName-len(DeadLetters)-digits-1] + "." + hex.EncodeToString(sum[:])[:digits] + DeadLetters
}
