package kafka

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// Outcomes of requests beside the names of Kafka's errors.
const (
	outcomeNone   = "NONE"   // no error, as Kafka's own metrics have it
	outcomeClosed = "CLOSED" // the connection was closed, because no response could say the error
)

// A requestStats counts requests by API and outcome: by the first error of the response.
type requestStats struct {
	all *broker.Stats
	ok  map[int16]*atomic.Int64 // requests without an error, by API key; it is not changed
}

func newRequestStats(b *broker.Broker) requestStats {
	s := requestStats{&b.Stats, make(map[int16]*atomic.Int64)}
	for key := range apis {
		s.ok[key] = s.counter(key, outcomeNone)
	}
	return s
}

func (s requestStats) counter(key int16, outcome string) *atomic.Int64 {
	return s.all.Request(broker.Request{Port: broker.Kafka, Kind: kmsg.NameForKey(key), Outcome: outcome})
}

func (s requestStats) add(key int16, response encoder, err error) {
	if err != nil {
		s.counter(key, outcomeClosed).Add(1)
		return
	}
	code := firstCode(response)
	if code == 0 {
		s.ok[key].Add(1)
		return
	}
	outcome := kerr.UnknownServerError.Message
	var known *kerr.Error
	if errors.As(kerr.ErrorForCode(code), &known) {
		outcome = known.Message
	}
	s.counter(key, outcome).Add(1)
}

// firstCode is the first error code of a response, 0 for none.
func firstCode(response encoder) int16 {
	switch r := response.(type) {
	case nil:
		return 0
	case *fetchResponse:
		return r.firstCode()
	case *produceResponse:
		return r.firstCode()
	}
	return codeIn(reflect.Indirect(reflect.ValueOf(response)))
}

func (r *fetchResponse) firstCode() int16 {
	code := r.code
	for _, p := range r.partitions {
		if code != 0 {
			break
		}
		code = p.code
	}
	return code
}

func (r *produceResponse) firstCode() int16 {
	for i := range r.topics {
		for _, p := range r.topics[i].partitions {
			if p.code != 0 {
				return p.code
			}
		}
	}
	return 0
}

// codeFields are the fields of a type that are error codes or have some inside, by type: a []int of field
// numbers.
var codeFields sync.Map

// codeIn is the first error code in a struct of package kmsg.
func codeIn(v reflect.Value) int16 {
	for _, i := range codeFieldsOf(v.Type()) {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Int16:
			if code := int16(f.Int()); code != 0 {
				return code
			}
		case reflect.Struct:
			if code := codeIn(f); code != 0 {
				return code
			}
		case reflect.Slice:
			for j := range f.Len() {
				if code := codeIn(f.Index(j)); code != 0 {
					return code
				}
			}
		}
	}
	return 0
}

func codeFieldsOf(t reflect.Type) []int {
	if known, ok := codeFields.Load(t); ok {
		return known.([]int)
	}
	fields := []int{}
	for i := range t.NumField() {
		f := t.Field(i)
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16 || inner.Kind() == reflect.Struct && f.IsExported() && len(codeFieldsOf(inner)) > 0 {
			fields = append(fields, i)
		}
	}
	codeFields.Store(t, fields)
	return fields
}

// count counts the messages of a response.
func (p *fetchPartition) count() {
	if p.log == nil || p.size() == 0 {
		return
	}
	messages := p.chunk.Next - max(p.chunk.First, p.offset)
	if len(p.data) > 0 {
		messages = 0
		for rest := p.data; len(rest) > 0; {
			b, behind, err := batch.Next(rest)
			if err != nil {
				break // Load has checked them
			}
			messages += int64(b.Count()) - max(0, min(p.offset-b.BaseOffset(), int64(b.Count())))
			rest = behind
		}
	}
	p.log.Topic().CountOut(broker.Kafka, messages, int64(p.size()))
}
