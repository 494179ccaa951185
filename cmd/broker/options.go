package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/kafka"
	"mbus/internal/units"
)

const (
	defaultProducerPort = 9990
	defaultConsumerPort = 9991
	defaultKafkaPort    = 9092
)

// options are the broker's flags.
type options struct {
	producerHost    string
	producerPort    int
	consumerHost    string
	consumerPort    int
	kafkaHost       string
	kafkaPort       int
	advertise       string
	nodeID          int
	rebalanceDelay  time.Duration
	minSession      time.Duration
	data            string
	syncEvery       time.Duration // 0 for always
	partitions      int
	autoCreate      bool
	maxMessage      int64 // bytes
	maxConnections  int
	writeTimeout    time.Duration
	retention       time.Duration
	retentionUnread time.Duration // 0 for that of all messages
	retentionBytes  int64         // 0 for no bound
	offsets         time.Duration // retention of positions; 0 for ever
	logLevel        slog.Level
	logFormat       string // text or json
	verify          string // a data directory; empty to run a broker
	reserve         int64  // bytes
}

const usage = `
Usage: broker [flags]

Keeps topics of messages in a data directory, takes messages on one port and
gives them out on another. Needs no flags.`

// parse reads the flags. If ok is false the program ends with the exit code.
func parse(args []string) (o *options, code int, ok bool) {
	o = new(options)
	s := flags.New("broker", usage)
	o.define(s)
	if code, ok = s.Parse(args); !ok {
		return nil, code, false
	}
	if err := o.check(); err != nil {
		return nil, s.Fail("%v", err), false
	}
	return o, 0, true
}

// define makes the flags.
func (o *options) define(s *flags.Set) {
	limits := broker.DefaultLimits()
	s.StringVar(&o.data, "data", "./data", "`DIRECTORY`: where messages are kept; it is made if it is not there")

	s.IntVar(&o.producerPort, "pport", defaultProducerPort, "`PORT`: the port for producers; 0 for any that is free")
	s.IntVar(&o.consumerPort, "cport", defaultConsumerPort, "`PORT`: the port for consumers; 0 for any that is free")
	s.IntVar(&o.kafkaPort, "kport", defaultKafkaPort, "`PORT`: the port for Kafka clients; 0 for any that is free")
	s.StringVar(&o.producerHost, "phost", "127.0.0.1", "`ADDRESS`: the address to listen on for producers; 0.0.0.0 or :: for all")
	s.StringVar(&o.consumerHost, "chost", "127.0.0.1", "`ADDRESS`: the address to listen on for consumers; 0.0.0.0 or :: for all")
	s.StringVar(&o.kafkaHost, "khost", "127.0.0.1", "`ADDRESS`: the address to listen on for Kafka clients; 0.0.0.0 or :: for all")
	s.StringVar(&o.advertise, "advertise", "", "`HOST:PORT`: the address for Kafka clients to connect to (default the address that each connected to)")
	s.MayBeEmpty("advertise")
	s.Group("Where", "data", "pport", "cport", "kport", "phost", "chost", "khost", "advertise")

	s.Func("fsync", "`WHEN`: always, to sync before a message is acknowledged, or an interval such as 100ms (default always)", o.setSync)
	s.DurationVar(&o.retention, "retention", 168*time.Hour, "`AGE`: the age from which messages are removed; 0 for never")
	s.SizeVar(&o.retentionBytes, "retention-bytes", 0, "`SIZE`: the size of a partition from which its oldest messages are removed; 0 for none")
	s.DurationVar(&o.retentionUnread, "retention-unread", broker.DefaultRetentionUnread, "`AGE`: the age from which messages are removed that a group of consumers of lines has not consumed, if it is higher; 0 for none")
	s.DurationVar(&o.offsets, "offsets-retention", broker.DefaultOffsetsRetention, "`AGE`: how long a group's positions are kept without members and commits; 0 for ever. Those of the group default stay")
	s.IntVar(&o.partitions, "partitions", 1, "`NUMBER`: how many partitions a new topic has")
	s.BoolVar(&o.autoCreate, "auto-create", true, "make a topic with its first message; with -auto-create=false only admin create and Kafka's CreateTopics make one")
	o.reserve = commitlog.DefaultReserve
	s.Func("reserve", "`SIZE`: the space on the disk that messages may not take, so that consumers can go on; 0 for none (default 64MiB, or a sixteenth of a smaller disk)", o.setReserve)
	s.Group("What is kept", "fsync", "retention", "retention-bytes", "retention-unread", "offsets-retention", "partitions", "auto-create", "reserve")

	o.maxMessage = int64(limits.MaxMessage)
	s.SizeVar(&o.maxMessage, "max-message", o.maxMessage, "`SIZE`: the size of the largest message")
	s.IntVar(&o.maxConnections, "max-connections", limits.MaxConnections, "`NUMBER`: how many connections there may be at the same time")
	s.DurationVar(&o.writeTimeout, "write-timeout", limits.WriteTime, "`TIME`: the time after which a reader that takes nothing is cut off")
	s.Group("How much", "max-message", "max-connections", "write-timeout")

	s.IntVar(&o.nodeID, "node-id", 1, "`NUMBER`: this broker's number in answers to Kafka clients, and in JSON")
	s.DurationVar(&o.rebalanceDelay, "rebalance-delay", 100*time.Millisecond, "`TIME`: how long the first members of a Kafka consumer group wait for more")
	s.DurationVar(&o.minSession, "min-session", kafka.DefaultMinSession, "`TIME`: the shortest session timeout that a member of a Kafka consumer group may have")
	s.Group("For Kafka clients", "node-id", "rebalance-delay", "min-session")

	o.logFormat = logText
	s.Func("log-level", "`LEVEL`: what is logged: debug (connections, too), info, warn or error (default info)", o.setLogLevel)
	s.Func("log-format", "`FORM`: of the log on standard error: text or json (default text)", o.setLogFormat)
	s.Group("What it says", "log-level", "log-format")

	s.StringVar(&o.verify, "verify", "", "`DIRECTORY`: read all of it, say what is damaged, change nothing, and end: exit code 0 if it is sound, 1 if it can't be read, 2 if it is damaged")
	s.Acts("verify")
	s.Group("Something else", "verify", "version")
}

func (o *options) setSync(value string) error {
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

func (o *options) setReserve(value string) (err error) {
	o.reserve, err = units.ParseSize(value)
	return err
}

func (o *options) check() error {
	for _, p := range o.places() {
		if err := p.check(); err != nil {
			return err
		}
	}
	switch {
	case o.nodeID < 0 || o.nodeID > math.MaxInt32:
		return fmt.Errorf("-node-id is %d: it takes 0 to %d", o.nodeID, math.MaxInt32)
	case o.partitions < 1 || o.partitions > broker.MaxPartitions:
		return fmt.Errorf("-partitions is %d: it takes 1 to %d", o.partitions, broker.MaxPartitions)
	case o.maxMessage < 1 || o.maxMessage > broker.MaxMaxMessage:
		return fmt.Errorf("-max-message is %s: it takes 1 to %s", units.FormatSize(o.maxMessage), units.FormatSize(broker.MaxMaxMessage))
	case o.maxConnections < 1:
		return fmt.Errorf("-max-connections is %d: it takes 1 or more", o.maxConnections)
	case o.minSession <= 0 || o.minSession > kafka.MaxSession:
		return fmt.Errorf("-min-session is %s: it takes a duration above 0, %s at most", units.FormatDuration(o.minSession), units.FormatDuration(kafka.MaxSession))
	case o.writeTimeout == 0:
		return errors.New("-write-timeout is 0: it takes a duration above 0")
	}
	if o.advertise != "" {
		if err := kafka.CheckAddress(o.advertise); err != nil {
			return fmt.Errorf("-advertise: %w", err)
		}
	}
	return nil
}

// kafkaOptions are the settings of the server for Kafka clients.
func (o *options) kafkaOptions() kafka.Options {
	return kafka.Options{
		Advertise: o.advertise, NodeID: int32(o.nodeID), RebalanceDelay: o.rebalanceDelay, MinSession: o.minSession, SyncEvery: o.syncEvery,
	}
}

// brokerOptions are the settings of the broker itself.
func (o *options) brokerOptions(log *slog.Logger) broker.Options {
	limits := broker.DefaultLimits()
	limits.MaxMessage, limits.MaxConnections, limits.WriteTime = int(o.maxMessage), o.maxConnections, o.writeTimeout
	unread := o.retentionUnread
	if unread == 0 {
		unread = -1
	}
	return broker.Options{
		Limits: limits, Partitions: o.partitions, NoAutoCreate: !o.autoCreate, Log: log,
		Retention: o.retention, RetentionUnread: unread, RetentionBytes: o.retentionBytes, OffsetsRetention: o.offsets,
	}
}
