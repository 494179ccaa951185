package brokertest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

func TestAReservedAddressRefusesUntilSomebodyListensAndAgainAfterwards(t *testing.T) {
	address := brokertest.Reserve(t)
	for range 3 {
		if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("nobody listens: %v", err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}
