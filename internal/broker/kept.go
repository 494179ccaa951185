package broker

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Kept setting is a topic setting of Kafka's that has no effect here. It is checked, stored
// and shown, so that tools that set it on every topic work.
type Kept struct {
	Name    string
	General string // Kafka's name of the default for all topics; "" for none
	Kind    Kind
	Default string // Kafka's
	Why     string // it has no effect
	check   func(value string) error
}

// A Kind is the type of a setting's value, in Kafka's words.
type Kind string

// The kinds of settings.
const (
	Boolean Kind = "boolean"
	Double  Kind = "double"
	Int     Kind = "int"
	List    Kind = "list"
	Long    Kind = "long"
	String  Kind = "string"
)

// Reasons that several settings have.
const (
	asItCame     = "batches are kept as they came"
	noCompaction = "there is no compaction"
	oneBroker    = "there is one broker"
	ownSegments  = "segments end by retention, and at 256 MiB"
	ownSyncs     = "the broker's -fsync says when messages are synced"
	ownStorage   = "there is no tiered storage"
)

var maxLong = strconv.FormatInt(math.MaxInt64, 10)

// KeptSettings are all Kept settings, by name.
var KeptSettings = []Kept{
	{"cleanup.policy", "log.cleanup.policy", List, "delete", noCompaction + ", old messages are removed", cleanupPolicy},
	{"compression.gzip.level", "compression.gzip.level", Int, "-1", asItCame, either(exactly("-1"), within(1, 9))},
	{"compression.lz4.level", "compression.lz4.level", Int, "9", asItCame, within(1, 17)},
	{"compression.type", "compression.type", String, "producer", asItCame, exactly("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")},
	{"compression.zstd.level", "compression.zstd.level", Int, "3", asItCame, within(-131072, 22)},
	{"delete.retention.ms", "log.cleaner.delete.retention.ms", Long, "86400000", noCompaction, within(0, math.MaxInt64)},
	{"file.delete.delay.ms", "log.segment.delete.delay.ms", Long, "60000", "files are deleted at once", within(0, math.MaxInt64)},
	{"flush.messages", "log.flush.interval.messages", Long, maxLong, ownSyncs, within(1, math.MaxInt64)},
	{"flush.ms", "log.flush.interval.ms", Long, maxLong, ownSyncs, within(0, math.MaxInt64)},
	{"follower.replication.throttled.replicas", "", List, "", oneBroker, throttled},
	{"index.interval.bytes", "log.index.interval.bytes", Int, "4096", "an index has every batch", within(0, math.MaxInt32)},
	{"leader.replication.throttled.replicas", "", List, "", oneBroker, throttled},
	{"local.retention.bytes", "log.local.retention.bytes", Long, "-2", ownStorage, within(-2, math.MaxInt64)},
	{"local.retention.ms", "log.local.retention.ms", Long, "-2", ownStorage, within(-2, math.MaxInt64)},
	{"max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", Long, maxLong, noCompaction, within(1, math.MaxInt64)},
	{"message.downconversion.enable", "log.message.downconversion.enable", Boolean, "true", asItCame, boolean},
	{"message.format.version", "log.message.format.version", String, "3.0-IV1", "batches have format version 2", version},
	{"min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", Double, "0.5", noCompaction, ratio},
	{"min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", Long, "0", noCompaction, within(0, math.MaxInt64)},
	{"min.insync.replicas", "min.insync.replicas", Int, "1", oneBroker, within(1, math.MaxInt32)},
	{"preallocate", "log.preallocate", Boolean, "false", "the broker allocates as it likes", boolean},
	{"remote.storage.enable", "", Boolean, "false", ownStorage, exactly("false")},
	{"segment.bytes", "log.segment.bytes", Int, "1073741824", ownSegments, within(14, math.MaxInt32)},
	{"segment.index.bytes", "log.index.size.max.bytes", Int, "10485760", ownSegments, within(4, math.MaxInt32)},
	{"segment.jitter.ms", "log.roll.jitter.ms", Long, "0", ownSegments, within(0, math.MaxInt64)},
	{"segment.ms", "log.roll.ms", Long, "604800000", ownSegments, within(1, math.MaxInt64)},
	{"unclean.leader.election.enable", "unclean.leader.election.enable", Boolean, "false", oneBroker, boolean},
}

// keptSetting is the setting of that name, or nil.
func keptSetting(name string) *Kept {
	if i := slices.IndexFunc(KeptSettings, func(k Kept) bool { return k.Name == name }); i >= 0 {
		return &KeptSettings[i]
	}
	return nil
}

func within(low, high int64) func(string) error {
	return func(value string) error {
		_, err := number(value, low, high)
		return err
	}
}

func exactly(values ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("it is %s, not %q", strings.Join(values, " or "), value)
		}
		return nil
	}
}

// either accepts a value that one of two checks accepts.
func either(one, other func(string) error) func(string) error {
	return func(value string) error {
		if one(value) == nil {
			return nil
		}
		return other(value)
	}
}

func boolean(value string) error { return exactly("true", "false")(strings.ToLower(value)) }

func ratio(value string) error {
	if r, err := strconv.ParseFloat(value, 64); err != nil || !(r >= 0 && r <= 1) {
		return fmt.Errorf("it is a number from 0 to 1, not %q", value)
	}
	return nil
}

func matching(pattern, what string) func(string) error {
	p := regexp.MustCompile(`^(` + pattern + `)$`)
	return func(value string) error {
		if !p.MatchString(value) {
			return fmt.Errorf("it is %s, not %q", what, value)
		}
		return nil
	}
}

var (
	throttled = matching(`|\*|none|\d+:\d+(,\d+:\d+)*`, "PARTITION:BROKER,… or *")
	version   = matching(`\d+\.\d+(\.\d+)*(-IV\d+)?`, "a version")
)

// cleanupPolicy accepts delete.
func cleanupPolicy(value string) error {
	if value != "delete" {
		return fmt.Errorf("it is delete, not %q: there is no compaction, so that a topic keeps all messages until retention removes them", value)
	}
	return nil
}
