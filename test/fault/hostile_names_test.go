package fault

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/test/brokertest"
)

// hostileNames must not become topics or groups.
var hostileNames = []string{
	"", ".", "..", "/", "../evil", "../../evil", "/tmp/evil", "a/b", "a/../../evil", "..\\evil", "a\\b", "a\x00b", "\x00", "%2e%2e%2fevil",
	"a\r\nlevel=ERROR msg=forged", "a\nmsg=forged", "a\rmsg=forged", "\x1b[31mred\x1b[0m", "a b", "a\tb", "é", "\xff", "\u202egnp", "a\u2028b",
	"~root", "$(id)", "`id`", "a;id", "*", "?", "a:b", "C:evil", "con\x7f", strings.Repeat("x", 250), strings.Repeat("x", 30_000),
	strings.Repeat("../", 80) + "tmp/evil",
}

// oddNames are allowed, and must not be confused with what the broker has itself.
var oddNames = []string{
	"...", "-", "_", "-rf", "..a", "a..", ".hidden", "tmp", "topics", "format", "lock", "topic.json", "0", "00000000000000000000.log",
	"a-0", "a-1", "A", "a", "x.dlq", ".dlq", strings.Repeat("y", 249), strings.Repeat(".", 249),
}

// F36: names of topics and groups that are paths, commands, lines of a log or too
// long, on every port. They are refused; no file appears outside the data directory
// and none with such a name in it; nothing stands raw in the log.
func TestF36Names(t *testing.T) {
	dir := t.TempDir()
	here := listing(t, ".")
	s := &siege{Broker: brokertest.Start(t, filepath.Join(dir, "data")), t: t}
	s.files = s.openFiles()
	for _, name := range hostileNames {
		for _, p := range s.ports()[:2] {
			if !strings.Contains(name, "\n") { // which ends the name, and what follows is a message
				s.mustRefuse(t, p, "topic", name)
			}
		}
		s.mustRefuse(t, s.ports()[1], "group", "orders?follow&group="+escaped(name))
		s.mustRefuse(t, s.ports()[1], "group", "?groups&group="+escaped(name))
		s.mustRefuse(t, s.ports()[1], "topic", "?delete&execute&topic="+escaped(name))
		s.kafkaNames(t, name)
	}
	for i, name := range oddNames {
		s.Publish(name, "message "+name)
		if got := s.Drain(name + fmt.Sprintf("?group=%s", oddNames[len(oddNames)-1-i])); got != "message "+name+"\n" {
			t.Errorf("topic %q gives %q", name, got)
		}
	}
	report(t, tally{Runs: len(hostileNames) + len(oddNames), Acked: len(oddNames), Read: len(oddNames)})
	mustBeOnly(t, "the directory above", listing(t, dir), []string{"data"})
	mustBeOnly(t, "the working directory", listing(t, "."), here)
	mustBeNamedWell(t, filepath.Join(dir, "data"))
	s.Restart()
	for _, name := range oddNames {
		if got := s.Drain(name + "?from=0"); got != "message "+name+"\n" {
			t.Errorf("after a restart topic %q gives %q", name, got)
		}
	}
	mustLogNothingRaw(t, s.Output())
	s.end(t)
}

func escaped(name string) (out string) {
	for _, c := range []byte(name) {
		out += fmt.Sprintf("%%%02X", c)
	}
	return out
}

// mustRefuse sends a request that names something in a hostile way.
func (s *siege) mustRefuse(t *testing.T, p port, what, request string) {
	t.Helper()
	answer, err := s.converse(p.address, []byte(request+"\nmessage\n"))
	if err != nil || strings.HasPrefix(request, "?") && strings.HasPrefix(answer, "-GONE ") {
		return // no such one: so it was looked up as a name and not found
	}
	if !strings.HasPrefix(answer, "-BADREQUEST ") || strings.Count(answer, "\n") != 1 || strings.ContainsFunc(strings.TrimSuffix(answer, "\n"), unicode.IsControl) {
		t.Errorf("%s %.60q on the %s port is answered %.200q", what, request, p.name, answer)
	}
}

// kafkaNames makes requests with a name wherever one may stand.
func (s *siege) kafkaNames(t *testing.T, name string) {
	t.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	create.Topics, create.Version = append(create.Topics, topic), 2
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version, metadata.AllowAutoTopicCreation = 4, true
	named := kmsg.NewMetadataRequestTopic()
	named.Topic = &name
	metadata.Topics = append(metadata.Topics, named)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group = 2, name
	of := kmsg.NewOffsetCommitRequestTopic()
	of.Topic, of.Partitions = name, append(of.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
	commit.Topics = append(commit.Topics, of)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.MemberID, join.ProtocolType, join.SessionTimeoutMillis = 1, name, name, "consumer", 10_000
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version, remove.TopicNames = 1, []string{name}
	for _, req := range []kmsg.Request{create, metadata, commit, join, remove} {
		k := s.dialKafka(t)
		resp, err := k.ask(req)
		k.Close()
		if err != nil {
			continue // a closed connection is an answer
		}
		code := int16(1)
		switch r := resp.(type) {
		case *kmsg.CreateTopicsResponse:
			code = r.Topics[0].ErrorCode
		case *kmsg.MetadataResponse:
			code = r.Topics[0].ErrorCode
		case *kmsg.OffsetCommitResponse:
			code = r.Topics[0].Partitions[0].ErrorCode
		case *kmsg.JoinGroupResponse:
			code = r.ErrorCode
		case *kmsg.DeleteTopicsResponse:
			code = r.Topics[0].ErrorCode
		}
		if code == 0 {
			t.Errorf("%T with the name %.60q is answered without an error", req, name)
		}
	}
}

func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func mustBeOnly(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("in %s there is %q", what, name)
		}
	}
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)

// mustBeNamedWell fails the test if a file in dir has a name that no topic may
// have, or is something else than a file or a directory.
func mustBeNamedWell(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (!goodName.MatchString(d.Name()) || !d.IsDir() && !d.Type().IsRegular()) {
			t.Errorf("there is %q, %v", path, d.Type())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

var logLine = regexp.MustCompile(`^(time=|data: |durability: |producers: |consumers: |kafka: |http: |advertised: |next: )`)

// mustLogNothingRaw fails the test if the broker's standard error has a byte that
// a terminal could take for more than text, or a line that a client made.
func mustLogNothingRaw(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if !logLine.MatchString(line) || strings.Contains(line, "msg=forged") && !strings.Contains(line, `\nmsg=forged`) && !strings.Contains(line, `\rmsg=forged`) {
			t.Errorf("the log has the line %q", line)
		}
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool { return c == unicode.ReplacementChar || !unicode.IsPrint(c) }) {
			t.Errorf("the log has %q raw", line)
		}
	}
}
