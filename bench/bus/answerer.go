package bus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answererVariable, if set in the environment, makes a program of this module
// the answerer, on that address.
const answererVariable = "MBUS_BENCH_ANSWERER"

// maxFrame bounds a request, in bytes: more than the client's largest batch.
const maxFrame = 16 << 20

// Answerer is a server of the Kafka protocol that keeps nothing: what the client
// manages against it is the client's limit. The program must call BeAnswerer
// first of all.
func Answerer() *System {
	return &System{
		Name: "machine: Kafka client, answers only", Answers: "nothing; it is thrown away", Client: kafkaClient,
		Config:  "a server that answers each produce request",
		Version: func() (string, error) { return "", nil },
		Start: func(dir string) (*Process, error) {
			return startAnswerer(dir, "")
		},
		Open: func(p *Process) (Bus, error) { return OpenKafka(p.Address) },
		Unfit: func(measurement string) string {
			if measurement == "publish" || measurement == "singly" {
				return ""
			}
			return "it keeps nothing"
		},
	}
}

// startAnswerer runs this program again as the answerer. file may be empty.
func startAnswerer(dir, file string) (*Process, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return run(dir, address, []string{answererVariable + "=" + address, fileVariable + "=" + file}, program)
}

// BeAnswerer does not return where the program was started to be the answerer.
func BeAnswerer() {
	address := os.Getenv(answererVariable)
	if address == "" {
		return
	}
	log, err := openSent(os.Getenv(fileVariable))
	if err == nil {
		err = acceptAll(address, log)
	}
	fmt.Fprintln(os.Stderr, "answerer:", err)
	os.Exit(1)
}

func acceptAll(address string, log *sentLog) error {
	l, err := net.Listen("tcp", address)
	for err == nil {
		var conn net.Conn
		if conn, err = l.Accept(); err == nil {
			go serve(conn.(*net.TCPConn), log)
		}
	}
	return err
}

// versions are the requests that are answered, and the highest version of each.
var versions = map[kmsg.Key]int16{
	kmsg.Produce: 9, kmsg.Fetch: 11, kmsg.ListOffsets: 5, kmsg.Metadata: 8,
	kmsg.ApiVersions: 3, kmsg.CreateTopics: 4, kmsg.InitProducerID: 4,
}

// serve answers the requests of a connection. Fetches are answered from log.
func serve(conn *net.TCPConn, log *sentLog) {
	defer conn.Close()
	if err := answerAll(conn, log); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "answerer:", err)
	}
}

// answerAll goes on until the client leaves or something is wrong.
func answerAll(conn *net.TCPConn, log *sentLog) error {
	r := bufio.NewReaderSize(conn, bufferBytes)
	for {
		frame, err := readFrame(r)
		if err != nil {
			return err
		}
		req, correlation, err := parse(frame)
		if err != nil {
			return err
		}
		if fetch, ok := req.(*kmsg.FetchRequest); ok {
			err = log.answer(conn, fetch, correlation)
		} else {
			_, err = conn.Write(encode(respond(req, conn.LocalAddr().(*net.TCPAddr), log.end), correlation))
		}
		if err != nil {
			return err
		}
	}
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 10 || n > maxFrame {
		return nil, fmt.Errorf("a request of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(r, frame)
	return frame, err
}

// parse takes a request apart, header and body.
func parse(frame []byte) (req kmsg.Request, correlation []byte, err error) {
	key, version := kmsg.Key(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	highest, known := versions[key]
	if !known {
		return nil, nil, fmt.Errorf("request %d is not answered", key)
	}
	req = kmsg.RequestForKey(key.Int16())
	req.SetVersion(min(version, highest))
	correlation, body := frame[4:8], frame[10:]
	if n := int(int16(binary.BigEndian.Uint16(frame[8:]))); n > len(body) {
		return nil, nil, errors.New("a client's name ends behind its request")
	} else if n > 0 {
		body = body[n:]
	}
	if req.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return nil, nil, errors.New("unexpected tags in a header")
		}
		body = body[1:]
	}
	return req, correlation, req.ReadFrom(body)
}

// encode makes the frame of a response.
func encode(resp kmsg.Response, correlation []byte) []byte {
	out := append(make([]byte, 4, 256), correlation...)
	if resp.IsFlexible() && kmsg.Key(resp.Key()) != kmsg.ApiVersions {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// respond makes the response to what is not a fetch; end is that of every topic.
func respond(req kmsg.Request, self *net.TCPAddr, end int64) kmsg.Response {
	resp := req.ResponseKind()
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, highest := range versions {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key.Int16(), MaxVersion: highest})
		}
	case *kmsg.CreateTopicsResponse:
		for _, topic := range req.(*kmsg.CreateTopicsRequest).Topics {
			t := kmsg.NewCreateTopicsResponseTopic()
			t.Topic = topic.Topic
			resp.Topics = append(resp.Topics, t)
		}
	case *kmsg.MetadataResponse:
		resp.ControllerID = 1
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: self.IP.String(), Port: int32(self.Port)}}
		for _, topic := range req.(*kmsg.MetadataRequest).Topics {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Leader, p.Replicas, p.ISR = 1, []int32{1}, []int32{1}
			t := kmsg.NewMetadataResponseTopic()
			t.Topic, t.Partitions = topic.Topic, []kmsg.MetadataResponseTopicPartition{p}
			resp.Topics = append(resp.Topics, t)
		}
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID = 1
	case *kmsg.ListOffsetsResponse:
		listOffsets(resp, req.(*kmsg.ListOffsetsRequest), end)
	case *kmsg.ProduceResponse:
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			t := kmsg.NewProduceResponseTopic()
			t.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition = partition.Partition
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	return resp
}
