package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/kafka"
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
	data            string
	syncEvery       time.Duration // 0 for always
	partitions      int
	autoCreate      bool
	maxMessage      int
	maxConnections  int
	writeTimeout    time.Duration
	retention       time.Duration
	retentionUnread time.Duration // 0 for that of all messages
	retentionBytes  int64
	verify          string // a data directory; empty to run a broker
	reserve         int64
}

const usage = `
Usage: broker [flags]

Keeps topics of messages in a data directory, takes messages on one port and
gives them out on another. Needs no flags.`

// parse reads the flags. If ok is false the program ends with the exit code.
func parse(args []string) (o *options, code int, ok bool) {
	o = new(options)
	limits := broker.DefaultLimits()
	s := flags.New("broker", usage)
	s.StringVar(&o.producerHost, "phost", "127.0.0.1", "`address` to listen on for producers")
	s.IntVar(&o.producerPort, "pport", defaultProducerPort, "`port` for producers; 0 for any")
	s.StringVar(&o.consumerHost, "chost", "127.0.0.1", "`address` to listen on for consumers")
	s.IntVar(&o.consumerPort, "cport", defaultConsumerPort, "`port` for consumers; 0 for any")
	s.StringVar(&o.kafkaHost, "khost", "127.0.0.1", "`address` to listen on for Kafka clients")
	s.IntVar(&o.kafkaPort, "kport", defaultKafkaPort, "`port` for Kafka clients; 0 for any")
	s.StringVar(&o.advertise, "advertise", "", "`host:port` that Kafka clients are told to connect to (default the address that each connected to)")
	s.IntVar(&o.nodeID, "node-id", 1, "`number` of this broker in what Kafka clients are told")
	s.DurationVar(&o.rebalanceDelay, "rebalance-delay", 100*time.Millisecond, "`time` that the first members of a Kafka consumer group wait for more")
	s.StringVar(&o.data, "data", "./data", "data `directory`, made if it is not there")
	s.Func("fsync", "`when` to sync: always, before a message is acknowledged, or an interval such as 100ms (default always)", o.setSync)
	s.IntVar(&o.partitions, "partitions", 1, "`number` of partitions of new topics")
	s.BoolVar(&o.autoCreate, "auto-create", true, "make a topic with its first message; with -auto-create=false only admin create and Kafka's CreateTopics make one")
	s.IntVar(&o.maxMessage, "max-message", limits.MaxMessage, "largest message, in `bytes`")
	s.IntVar(&o.maxConnections, "max-connections", limits.MaxConnections, "`number` of connections at the same time")
	s.DurationVar(&o.writeTimeout, "write-timeout", limits.WriteTime, "`time` after which a reader that takes nothing is cut off")
	s.DurationVar(&o.retention, "retention", 168*time.Hour, "`age` from which messages are removed; 0 for never")
	s.DurationVar(&o.retentionUnread, "retention-unread", broker.DefaultRetentionUnread, "`age` from which messages are removed that a group of consumers of lines has not consumed, if it is higher; 0 for none")
	s.Int64Var(&o.retentionBytes, "retention-bytes", 0, "`size` of a partition from which its oldest messages are removed; 0 for none")
	s.StringVar(&o.verify, "verify", "", "read all of the data `directory`, say what is damaged, change nothing, and end: exit code 0 if it is sound, 1 if it can't be read, 2 if it is damaged")
	o.reserve = commitlog.DefaultReserve
	s.Func("reserve", "`size` in bytes of the space on the disk that messages may not take, so that consumers can go on; 0 for none (default 64 MiB, or a sixteenth of a smaller disk)", o.setReserve)
	s.Acts("verify")
	if code, ok = s.Parse(args); !ok {
		return nil, code, false
	}
	if err := o.check(); err != nil {
		return nil, s.Fail("%v", err), false
	}
	return o, 0, true
}

func (o *options) setSync(value string) error {
	if value == "always" {
		o.syncEvery = 0
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return errors.New("it takes always, or an interval such as 100ms")
	}
	o.syncEvery = d
	return nil
}

func (o *options) setReserve(value string) (err error) {
	if o.reserve, err = strconv.ParseInt(value, 10, 64); err != nil || o.reserve < 0 {
		return errors.New("it takes a number of bytes")
	}
	return nil
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
	case o.rebalanceDelay < 0:
		return fmt.Errorf("-rebalance-delay is %v: it can't be negative", o.rebalanceDelay)
	case o.partitions < 1 || o.partitions > broker.MaxPartitions:
		return fmt.Errorf("-partitions is %d: it takes 1 to %d", o.partitions, broker.MaxPartitions)
	case o.maxMessage < 1 || o.maxMessage > broker.MaxMaxMessage:
		return fmt.Errorf("-max-message is %d: it takes 1 to %d", o.maxMessage, broker.MaxMaxMessage)
	case o.maxConnections < 1:
		return fmt.Errorf("-max-connections is %d: it takes 1 or more", o.maxConnections)
	case o.writeTimeout <= 0:
		return fmt.Errorf("-write-timeout is %v: it takes a positive time", o.writeTimeout)
	case o.retention < 0:
		return fmt.Errorf("-retention is %v: it can't be negative", o.retention)
	case o.retentionUnread < 0:
		return fmt.Errorf("-retention-unread is %v: it can't be negative", o.retentionUnread)
	case o.retentionBytes < 0:
		return fmt.Errorf("-retention-bytes is %d: it can't be negative", o.retentionBytes)
	}
	if o.advertise != "" {
		if err := kafka.CheckAddress(o.advertise); err != nil {
			return fmt.Errorf("-advertise: %w", err)
		}
	}
	return nil
}

// kafkaOptions are what the server for Kafka's clients is told.
func (o *options) kafkaOptions() kafka.Options {
	return kafka.Options{Advertise: o.advertise, NodeID: int32(o.nodeID), RebalanceDelay: o.rebalanceDelay, SyncEvery: o.syncEvery}
}

// brokerOptions are what the broker itself is told.
func (o *options) brokerOptions(log *slog.Logger) broker.Options {
	limits := broker.DefaultLimits()
	limits.MaxMessage, limits.MaxConnections, limits.WriteTime = o.maxMessage, o.maxConnections, o.writeTimeout
	unread := o.retentionUnread
	if unread == 0 {
		unread = -1
	}
	return broker.Options{
		Limits: limits, Partitions: o.partitions, NoAutoCreate: !o.autoCreate, Log: log,
		Retention: o.retention, RetentionUnread: unread, RetentionBytes: o.retentionBytes,
	}
}
