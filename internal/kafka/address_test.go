package kafka_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/kafka"
)

// addresses are what each kind of answer that has one says, in each version.
func addresses(c *client) map[string]string {
	said := make(map[string]string)
	note := func(what string, version int16, host string, port int32) {
		said[fmt.Sprintf("%s %d", what, version)] = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	for version := int16(0); version <= 13; version++ {
		n := ask[*kmsg.MetadataResponse](c, metadataFor(version, "orders")).Brokers[0]
		note("Metadata", version, n.Host, n.Port)
	}
	for version := int16(0); version <= 6; version++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey, req.CoordinatorKeys = version, "billing", []string{"billing"}
		resp := ask[*kmsg.FindCoordinatorResponse](c, req)
		if version >= 4 {
			note("FindCoordinator", version, resp.Coordinators[0].Host, resp.Coordinators[0].Port)
			continue
		}
		note("FindCoordinator", version, resp.Host, resp.Port)
	}
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version = version
		n := ask[*kmsg.DescribeClusterResponse](c, req).Brokers[0]
		note("DescribeCluster", version, n.Host, n.Port)
	}
	return said
}

// serveAt has the bus listen on another address, too, and gives it with its port.
// Where the machine does not have the address it says so and gives "".
func (b *bus) serveAt(host string) string {
	b.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		b.t.Logf("THIS MACHINE HAS NO %s: %v", host, err)
		return ""
	}
	b.serving.Go(func() { b.server.Serve(l) })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	return port
}

// A name such as localhost may be another address for the client, where somebody else
// listens.
func TestClientsGetTheAddressOnWhichTheyWereAccepted(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	for _, tt := range []struct{ listen, dial string }{
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.2", "127.0.0.2"},
		{"0.0.0.0", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.3"},
		{"localhost", "127.0.0.1"},
		{"::1", "::1"},
		{"::", "::1"},
		{"::", "127.0.0.1"}, // which the system calls ::ffff:127.0.0.1
		{"::", "127.0.0.2"},
	} {
		port := b.serveAt(tt.listen)
		if port == "" {
			continue
		}
		want := net.JoinHostPort(tt.dial, port)
		for what, said := range addresses(b.dialAt(want)) {
			if said != want {
				t.Errorf("listening on %s, asked at %s: %s says %s", tt.listen, want, what, said)
			}
		}
	}
}

func TestLinkLocalAddressHasItsZone(t *testing.T) {
	host := linkLocal()
	if host == "" {
		t.Skip("no interface of this machine has a link-local IPv6 address")
	}
	b := start(t, setup{})
	port := b.serveAt("::")
	want := net.JoinHostPort(host, port)
	for what, said := range addresses(b.dialAt(want)) {
		if said != want {
			t.Errorf("asked at %s: %s says %s", want, what, said)
		}
	}
}

// linkLocal is a link-local address of this machine, with its zone.
func linkLocal() string {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		list, _ := i.Addrs()
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
				return n.IP.String() + "%" + i.Name
			}
		}
	}
	return ""
}

func TestAdvertisedAddressHasNoBrackets(t *testing.T) {
	for advertise, want := range map[string]string{
		"bus.example.com:19092": "bus.example.com:19092",
		"[::1]:19092":           "[::1]:19092",
		"10.0.0.7:1":            "10.0.0.7:1",
	} {
		b := start(t, setup{kafka: kafka.Options{Advertise: advertise}})
		b.topic("orders", 1)
		for what, said := range addresses(b.dial()) {
			if said != want { // JoinHostPort puts the brackets around what has a colon
				t.Errorf("%s: %s says %s", advertise, what, said)
			}
		}
	}
}

func TestAddressesThatCanNotBeAdvertisedAreRefused(t *testing.T) {
	for _, address := range []string{
		"localhost:9092", "bus.example.com:1", "bus_1:65535", "127.0.0.1:9092", "[::1]:9092", "[fe80::1%eth0]:9092",
	} {
		if err := kafka.CheckAddress(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{
		"", ":", "localhost", ":9092", "localhost:", "localhost:0", "localhost:65536", "localhost:-1", "localhost:http",
		"::1", "::1:9092", "[::1]", "[::1:9092", "fe80::1%eth0:9092", "0.0.0.0:9092", "[::]:9092",
		"tcp://10.0.0.7:9092", "PLAINTEXT://bus:9092", "a b:9092", "bus/x:9092", "[a:b]:9092", "bus:9092,bus:9093",
	} {
		if err := kafka.CheckAddress(address); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}
