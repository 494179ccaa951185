package bus

import (
	"bufio"
	"context"
	"errors"

	"mbus/bench/machine"
)

// Relay is what no broker does faster: a process that passes lines on from one
// connection to another, written to a file and synced before if file is not
// empty. There is one publisher and one consumer; nothing is acknowledged.
func Relay(file string) (Bus, error) {
	r, err := machine.StartRelay(file)
	return relay{r}, err
}

type relay struct{ *machine.Relay }

func (r relay) Topic(string, ...string) error { return nil }

func (r relay) Close() { r.Stop() }

func (r relay) Publisher(string, bool) (Publisher, error) {
	return relayPublisher{bufio.NewWriterSize(r.In, bufferBytes)}, nil
}

type relayPublisher struct{ *bufio.Writer }

func (p relayPublisher) Add(message []byte) error {
	_, _ = p.Write(message) // its error stays
	return p.WriteByte('\n')
}

func (p relayPublisher) Close() error { return p.Flush() }

func (r relay) Sender(string) (Sender, error) { return nil, errors.New("a relay does not answer") }

func (r relay) Consume(ctx context.Context, _ Reading, take func([]byte)) error {
	defer context.AfterFunc(ctx, func() { r.Out.Close() })()
	lines := bufio.NewReaderSize(r.Out, bufferBytes)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return endedBy(ctx, err)
		}
		take(line[:len(line)-1])
	}
}
