package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/kafka"
	"mbus/internal/units"
	"mbus/internal/web"
)

// options are the broker's flags.
type options struct {
	data       string
	listen     listenOptions
	security   securityOptions
	durability durabilityOptions
	retention  retentionOptions
	topics     topicOptions
	limits     limitOptions
	kafka      kafkaOptions
	http       httpOptions
	cluster    clusterOptions
	log        logOptions
	verify     string // a data directory to check; empty to run a broker
}

type durabilityOptions struct {
	syncEvery time.Duration // 0 for always
	journal   int64         // bytes; 0 for none
	reserve   int64         // bytes
}

type retentionOptions struct {
	age     time.Duration
	unread  time.Duration // 0 for that of all messages
	bytes   int64         // 0 for no bound
	offsets time.Duration // 0 for ever
}

type topicOptions struct {
	partitions int
	autoCreate bool
}

type limitOptions struct {
	message     int64 // bytes
	connections int
	perAddress  int // -1 for half of connections
	writeTime   time.Duration
}

type httpOptions struct {
	hosts []string
	debug bool
}

type kafkaOptions struct {
	advertise      string
	nodeID         int
	rebalanceDelay time.Duration
	minSession     time.Duration
}

const defaultData = "./data"

const usage = `
Usage: broker [flags]

Keeps topics of messages in a data directory, receives messages on one port and
sends them on another. Needs no flags.`

// parse reads the flags. If ok is false the program ends with the exit code.
func parse(args []string) (o *options, code int, ok bool) { return parseTo(os.Stderr, args) }

// parseTo is parse, which says what is wrong to errs.
func parseTo(errs io.Writer, args []string) (o *options, code int, ok bool) {
	o = new(options)
	s := flags.New("broker", usage)
	s.Err = errs
	o.define(s)
	if code, ok = s.Parse(args); !ok {
		return nil, code, false
	}
	o.cluster.note(s)
	if err := o.check(); err != nil {
		return nil, s.Fail("%v", err), false
	}
	return o, 0, true
}

// define makes the flags, and the groups in which the help shows them.
func (o *options) define(s *flags.Set) {
	s.StringVar(&o.data, "data", defaultData, "`DIRECTORY`: the data directory; it is created if it does not exist")
	o.listen.define(s)
	o.security.define(s)
	o.durability.define(s)
	o.retention.define(s)
	o.topics.define(s)
	o.limits.define(s)
	o.kafka.define(s)
	o.http.define(s)
	o.cluster.define(s)
	o.log.define(s)
	s.StringVar(&o.verify, "verify", "", "`DIRECTORY`: read this data directory, report all damage, change nothing, and end: exit code 0 if it is intact, 1 if it can't be read, 2 if it is damaged")
	s.Acts("verify")

	s.Group("Where", "data", "pport", "cport", "kport", "hport", "phost", "chost", "khost", "hhost", "advertise")
	s.Group("Security", "tls-cert", "tls-key", "tls-client-ca", "insecure")
	s.Group("What is kept", "fsync", "journal", "retention", "retention-bytes", "retention-unread", "offsets-retention", "partitions", "auto-create", "reserve")
	s.Group("Limits", "max-message", "max-connections", "max-connections-per-address", "write-timeout")
	s.Group("For Kafka clients", "node-id", "rebalance-delay", "min-session")
	s.Group("For HTTP clients", "http-hosts", "debug")
	s.Group("A cluster of three nodes or more", "cluster", "peers", "cluster-key", "cluster-links", "replicas", "cluster-failover")
	s.Group("Log", "log-level", "log-format")
	s.Group("Something else", "verify", "version")
}

// Sizes of the journal in bytes.
const (
	defaultJournal = 64 << 20
	minJournal     = 1 << 20
	maxJournal     = 1 << 30 // a start reads it whole, and has its frames in memory
)

func (o *durabilityOptions) define(s *flags.Set) {
	o.reserve = commitlog.DefaultReserve
	s.Func("fsync", "`WHEN`: always, to sync before a message is acknowledged, or an interval such as 100ms (default always)", o.setSync)
	s.SizeVar(&o.journal, "journal", defaultJournal, "`SIZE`: the size of the journal, in which the small writes of many topics share one sync; 0 for a sync of each topic")
	s.Func("reserve", "`SIZE`: the space on the disk that messages may not use, so that consumers can go on; 0 for none (default 64MiB, or a sixteenth of a smaller disk)", o.setReserve)
}

func (o *durabilityOptions) setSync(value string) error {
	if value == "always" {
		o.syncEvery = 0
		return nil
	}
	d, err := units.ParseDuration(value)
	if err != nil || d == 0 {
		return errors.New("it takes always, or an interval such as 100ms")
	}
	o.syncEvery = d
	return nil
}

func (o *durabilityOptions) setReserve(value string) (err error) {
	o.reserve, err = units.ParseSize(value)
	return err
}

func (o *durabilityOptions) check() error {
	if o.journal != 0 && o.journal < minJournal || o.journal > maxJournal {
		return fmt.Errorf("-journal is %s: it takes 0, or %s to %s", units.FormatSize(o.journal), units.FormatSize(minJournal), units.FormatSize(maxJournal))
	}
	return nil
}

func (o *retentionOptions) define(s *flags.Set) {
	s.DurationVar(&o.age, "retention", 168*time.Hour, "`AGE`: the age at which messages are removed; 0 for never")
	s.SizeVar(&o.bytes, "retention-bytes", 0, "`SIZE`: the size of a partition above which its oldest messages are removed; 0 for no limit")
	s.DurationVar(&o.unread, "retention-unread", broker.DefaultRetentionUnread, "`AGE`: the age at which messages are removed that a group of line consumers has not consumed, if it is higher; 0 for no difference")
	s.DurationVar(&o.offsets, "offsets-retention", broker.DefaultOffsetsRetention, "`AGE`: how long a group's positions are kept without members and commits; 0 for ever. Those of the group default are kept")
}

func (o *topicOptions) define(s *flags.Set) {
	s.IntVar(&o.partitions, "partitions", 1, "`NUMBER`: the partitions of a topic that is created automatically")
	s.BoolVar(&o.autoCreate, "auto-create", true, "create a topic with its first message; with -auto-create=false only admin create and Kafka's CreateTopics create topics")
}

func (o *topicOptions) check() error {
	if o.partitions < 1 || o.partitions > broker.MaxPartitions {
		return fmt.Errorf("-partitions is %d: it takes 1 to %d", o.partitions, broker.MaxPartitions)
	}
	return nil
}

func (o *limitOptions) define(s *flags.Set) {
	limits := broker.DefaultLimits()
	s.SizeVar(&o.message, "max-message", int64(limits.MaxMessage), "`SIZE`: the size of the largest message")
	s.IntVar(&o.connections, "max-connections", limits.MaxConnections, "`NUMBER`: the connections of each protocol that may be open at a time")
	o.perAddress = -1
	s.Func("max-connections-per-address", "`NUMBER`: those of one address that is not loopback; 0 for no limit (default half of -max-connections)", o.setPerAddress)
	s.DurationVar(&o.writeTime, "write-timeout", limits.WriteTime, "`TIME`: how long a client may read nothing before its connection is closed")
}

func (o *limitOptions) setPerAddress(value string) (err error) {
	if o.perAddress, err = strconv.Atoi(value); err != nil || o.perAddress < 0 {
		return errors.New("it takes a number, 0 or more")
	}
	return nil
}

func (o *limitOptions) check() error {
	switch {
	case o.message < 1 || o.message > broker.MaxMaxMessage:
		return fmt.Errorf("-max-message is %s: it takes 1 to %s", units.FormatSize(o.message), units.FormatSize(broker.MaxMaxMessage))
	case o.connections < 1:
		return fmt.Errorf("-max-connections is %d: it takes 1 or more", o.connections)
	case o.writeTime == 0:
		return errors.New("-write-timeout is 0: it takes a duration above 0")
	}
	return nil
}

func (o *kafkaOptions) define(s *flags.Set) {
	s.StringVar(&o.advertise, "advertise", "", "`HOST:PORT`: the address to which Kafka clients connect (default the address of each connection; over TLS the name in the certificate that it used)")
	s.MayBeEmpty("advertise")
	s.IntVar(&o.nodeID, "node-id", 1, "`NUMBER`: this broker's number in responses to Kafka clients, and in JSON; each node of a cluster has its own")
	s.DurationVar(&o.rebalanceDelay, "rebalance-delay", 100*time.Millisecond, "`TIME`: how long the first members of a Kafka consumer group wait for more")
	s.DurationVar(&o.minSession, "min-session", kafka.DefaultMinSession, "`TIME`: the shortest session timeout that a member of a Kafka consumer group may have")
}

func (o *kafkaOptions) check() error {
	switch {
	case o.nodeID < 0 || o.nodeID > math.MaxInt32:
		return fmt.Errorf("-node-id is %d: it takes 0 to %d", o.nodeID, math.MaxInt32)
	case o.minSession <= 0 || o.minSession > kafka.MaxSession:
		return fmt.Errorf("-min-session is %s: it takes a duration above 0, %s at most", units.FormatDuration(o.minSession), units.FormatDuration(kafka.MaxSession))
	case o.advertise == "":
		return nil
	}
	if err := kafka.CheckAddress(o.advertise); err != nil {
		return fmt.Errorf("-advertise: %w", err)
	}
	return nil
}

func (o *httpOptions) define(s *flags.Set) {
	s.Func("http-hosts", "`NAMES`: host names by which browsers reach this broker, with commas between; its addresses, localhost and, over TLS, the names in its certificate need no mention", o.setHosts)
	s.BoolVar(&o.debug, "debug", false, "serve Go's profiles over HTTP, under /debug/pprof")
}

func (o *httpOptions) setHosts(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, "/: ") {
			return fmt.Errorf("%q is no host name: it takes names without ports, such as bus.example", name)
		}
		o.hosts = append(o.hosts, name)
	}
	return nil
}

// webOptions are the settings of the server for HTTP clients.
func (o *options) webOptions(l *listeners) web.Options {
	return web.Options{
		NodeID: int32(o.kafka.nodeID), Hosts: o.http.hosts, Debug: o.http.debug, Version: flags.Version, SyncEvery: o.durability.syncEvery,
		Ports: map[string]string{
			"producers": l.producers.Addr().String(), "consumers": l.consumers.Addr().String(),
			"kafka": l.kafka.Addr().String(), "http": l.http.Addr().String(),
		},
	}
}

func (o *options) check() error {
	for _, check := range []func() error{o.listen.check, o.security.check, o.durability.check, o.topics.check, o.limits.check, o.kafka.check, o.checkCluster} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// storeOptions are the settings of the store.
func (o *options) storeOptions(log *slog.Logger) commitlog.Options {
	return commitlog.Options{
		SyncEvery: o.durability.syncEvery, JournalBytes: o.durability.journal, Reserve: o.durability.reserve, Log: log,
	}
}

// kafkaOptions are the settings of the server for Kafka clients.
func (o *options) kafkaOptions() kafka.Options {
	return kafka.Options{
		Advertise: o.kafka.advertise, NodeID: int32(o.kafka.nodeID), RebalanceDelay: o.kafka.rebalanceDelay,
		MinSession: o.kafka.minSession, SyncEvery: o.durability.syncEvery,
	}
}

// brokerOptions are the settings of the broker itself.
func (o *options) brokerOptions(log *slog.Logger) broker.Options {
	limits := broker.DefaultLimits()
	limits.MaxMessage, limits.MaxConnections, limits.WriteTime = int(o.limits.message), o.limits.connections, o.limits.writeTime
	if limits.MaxPerAddress = o.limits.perAddress; limits.MaxPerAddress < 0 {
		limits.MaxPerAddress = max(1, o.limits.connections/2)
	}
	unread := o.retention.unread
	if unread == 0 {
		unread = -1
	}
	return broker.Options{
		Limits: limits, Partitions: o.topics.partitions, NoAutoCreate: !o.topics.autoCreate, Log: log,
		Retention: o.retention.age, RetentionUnread: unread, RetentionBytes: o.retention.bytes, OffsetsRetention: o.retention.offsets,
	}
}
