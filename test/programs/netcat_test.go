package programs

import (
	"testing"

	"mbus/test/brokertest"
)

func TestNetcatPublishesAndConsumes(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	shell(t, b, `printf 'orders\nfirst order\n' | nc -N 127.0.0.1 $P`).mustPrint(t, "+1\n")
	shell(t, b, `echo orders | nc 127.0.0.1 $C`).mustPrint(t, "first order\n")
	shell(t, b, `echo orders | nc 127.0.0.1 $C`).mustPrint(t, "")
}

func TestNetcatThatClosesEarlyConsumes(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order", "second order")
	shell(t, b, `echo orders | nc -N 127.0.0.1 $C`).mustPrint(t, "first order\nsecond order\n")
	shell(t, b, `echo orders | nc -N 127.0.0.1 $C`).mustPrint(t, "")
}

func TestBashWithoutNetcatConsumes(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	const line = `bash -c 'exec 3<>/dev/tcp/127.0.0.1/$C; echo orders >&3; cat <&3'`
	shell(t, b, line).mustPrint(t, "first order\n")
	shell(t, b, line).mustPrint(t, "")
}

// netcat has read the bytes that fit into the pipe, whether they are read there or not.
func TestNetcatReadsOnBehindHead(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for _, how := range []string{"nc", "nc -N"} {
		b.Publish("orders", "first order", "second order", "third order")
		shell(t, b, `echo 'orders?n=1' | `+how+` 127.0.0.1 $C | head -1`).mustPrint(t, "first order\n")
		shell(t, b, `echo orders | `+how+` 127.0.0.1 $C | head -1`).mustPrint(t, "second order\n")
		mustEqual(t, b.Drain("orders"), "")
	}
}

func TestNetcatCutOffByHeadConsumesNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	messages := manyMessages(200_000) // more than pipes and sockets hold
	b.Publish("orders", messages...)
	shell(t, b, `echo orders | nc 127.0.0.1 $C | head -1`).mustPrint(t, messages[0]+"\n")
	mustDrainAll(t, b, messages, func() string { return b.Drain("orders") })
	mustEqual(t, b.Drain("orders"), "")
}
