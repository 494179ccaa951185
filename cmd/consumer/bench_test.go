package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"mbus/internal/client"
)

// BenchmarkConsume has one message of 100 bytes an operation: from a socket,
// checked, formatted and written.
func BenchmarkConsume(b *testing.B) {
	for name, layout := range map[string]string{"payload": `%s\n`, "default": ""} {
		b.Run(name, func(b *testing.B) {
			f, err := chooseFormat("orders", layout, layout != "", false, false)
			if err != nil {
				b.Fatal(err)
			}
			opts := options{
				broker:  client.Broker{Addr: sendMessages(b, b.N)},
				request: client.ConsumeRequest{Topic: "orders", Group: "default"},
				format:  f,
			}
			b.SetBytes(100)
			b.ReportAllocs()
			b.ResetTimer()
			s := newSession(opts)
			s.sink = &output{w: io.Discard, format: f}
			if err := s.connection(b.Context()); err != nil || s.total < int64(b.N) {
				b.Fatalf("%d messages, %v", s.total, err)
			}
		})
	}
}

// sendMessages listens for a consumer that gets at least n messages.
func sendMessages(b *testing.B, n int) (addr string) {
	b.Helper()
	values := make([]string, 500)
	for i := range values {
		values[i] = strings.Repeat("x", 100)
	}
	chunk := []byte(strings.Repeat(batchOf(0, values...), 4))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var request [1024]byte
		_, _ = conn.Read(request[:])
		_, _ = io.WriteString(conn, "@0\n")
		for ; n > 0; n -= 4 * len(values) {
			_, _ = conn.Write(chunk)
		}
		_, _ = io.WriteString(conn, ".\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}()
	return l.Addr().String()
}
