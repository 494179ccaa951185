package programs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Each change, over each protocol, leaves one line of the log that names the user.
func TestEachChangeOverEachProtocolIsInTheAuditTrailOnce(t *testing.T) {
	p := logging(t, "info")
	listening := awaitRecord(t, p, "listening")
	line := func(port, text string) func() error {
		return func() error {
			if answer := told(t, listening[port], text); answer == "" || strings.HasPrefix(answer, "-") {
				return fmt.Errorf("the answer is %q", answer)
			}
			return nil
		}
	}
	call := func(method, path, body string) func() error {
		return requestOf(method, fmt.Sprintf("http://%v%s", listening["http"], path), body)
	}
	ask := kafkaTo(t, fmt.Sprint(listening["kafka"]))
	var all []string
	for _, step := range []struct {
		do   func() error
		want string // action, kind and name of each line
	}{
		{line("producers", "orders\nfirst\n"), "create topic orders"},
		{line("producers", "orders\nsecond\n"), ""},
		{line("consumers", "?grow&topic=orders&partitions=2\n"), ""}, // a preview
		{line("consumers", "?grow&topic=orders&partitions=2&execute\n"), "grow topic orders"},
		{line("consumers", "?reset&group=g&topic=orders&to=end&execute\n"), "set positions group g"},
		{line("consumers", "?delete&group=g&execute\n"), "delete group g"},
		{line("consumers", "?create&topic=bills&retention=7d&execute\n"), "create topic bills"},
		{line("consumers", "?delete&topic=bills&execute\n"), "delete topic bills"},
		{call("POST", "/topics/web", "first"), "create topic web"},
		{call("PATCH", "/topics/web?execute", `{"partitions": 3, "config": {"retention.ms": "1000000"}}`), "configure topic web, grow topic web"},
		{call("POST", "/groups/h/reset?topic=web&to=end&execute", ""), "set positions group h"},
		{call("DELETE", "/groups/h?execute", ""), "delete group h"},
		{call("POST", "/topics?execute", `{"topic": "more"}`), "create topic more"},
		{call("DELETE", "/topics/more?execute", ""), "delete topic more"},
		{call("POST", "/topics/web.dlq", "a letter"), "create topic web.dlq"},
		{call("POST", "/topics/web.dlq/discard?execute", ""), "discard topic web.dlq"},
		{ask(&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "kafka", NumPartitions: 1, ReplicationFactor: 1}}}), "create topic kafka"},
		{ask(&kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "kafka", Count: 2}}}), "grow topic kafka"},
		{ask(configRequest("kafka")), "configure topic kafka"},
		{ask(&kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}}), "trim topic orders"},
		{ask(deleteTopicRequest("kafka")), "delete topic kafka"},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.want, err)
		}
		if step.want != "" {
			all = append(all, step.want)
		}
	}
	p.Terminate()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records(t, p, "audit") {
		got = append(got, fmt.Sprintf("%v %v %v", r["action"], r["kind"], r["name"]))
		if client, _ := r["client"].(string); !strings.HasPrefix(client, "127.0.0.1:") || r["user"] != "" || r["by"] != "" || r["outcome"] != "done" || r["level"] != "INFO" {
			t.Errorf("%v", r)
		}
	}
	if got, want := strings.Join(got, "\n"), strings.ReplaceAll(strings.Join(all, "\n"), ", ", "\n"); got != want {
		t.Errorf("the audit trail says\n%s\n\nand is to say\n%s", got, want)
	}
}

// requestOf makes a request of HTTP that is to succeed.
func requestOf(method, url, body string) func() error {
	return func() error {
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return err
		}
		if strings.HasPrefix(body, "{") {
			r.Header.Set("Content-Type", "application/json")
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, _ := io.ReadAll(answer.Body); answer.StatusCode >= 300 {
			return fmt.Errorf("%s: %s", answer.Status, text)
		}
		return nil
	}
}

// kafkaTo is a Kafka client for requests whose first error code is to be 0.
func kafkaTo(t *testing.T, address string) func(kmsg.Request) func() error {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return func(r kmsg.Request) func() error {
		return func() error {
			answer, err := c.Request(context.Background(), r)
			if err != nil {
				return err
			}
			switch a := answer.(type) {
			case *kmsg.CreateTopicsResponse:
				return kerr.ErrorForCode(a.Topics[0].ErrorCode)
			case *kmsg.CreatePartitionsResponse:
				return kerr.ErrorForCode(a.Topics[0].ErrorCode)
			case *kmsg.IncrementalAlterConfigsResponse:
				return kerr.ErrorForCode(a.Resources[0].ErrorCode)
			case *kmsg.DeleteRecordsResponse:
				return kerr.ErrorForCode(a.Topics[0].Partitions[0].ErrorCode)
			case *kmsg.DeleteTopicsResponse:
				return kerr.ErrorForCode(a.Topics[0].ErrorCode)
			}
			return fmt.Errorf("a response of %T", answer)
		}
	}
}

func configRequest(topic string) kmsg.Request {
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1000000")}},
	}}
	return r
}

func deleteTopicRequest(topic string) kmsg.Request {
	r := kmsg.NewPtrDeleteTopicsRequest()
	r.TopicNames = []string{topic}
	r.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &topic}}
	return r
}
