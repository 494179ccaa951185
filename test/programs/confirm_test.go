package programs

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// The end of a stream confirms what was acknowledged, so the end of a broker must
// not look like it.
func TestKilledBrokerDoesNotEndAStreamOfAcknowledgements(t *testing.T) {
	for _, request := range []string{"jobs?follow&ack", "jobs?follow&ack&format=batch"} {
		b := brokertest.Start(t, t.TempDir())
		b.Publish("jobs", "first")
		c := newClient(t, b.Consumers(), request)
		if line := brokertest.ReadLine(t, c.reader); line == "" {
			t.Fatal("nothing came")
		}
		b.Kill()
		if _, err := io.Copy(io.Discard, c.reader); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: a killed broker ends with %v, not a reset", request, err)
		}
	}
}
