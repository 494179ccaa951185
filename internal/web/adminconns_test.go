package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"mbus/internal/tcpserver"
)

// An otherFront is a front with one connection.
type otherFront struct {
	one    tcpserver.Connection
	closed atomic.Uint64
}

func (f *otherFront) Connections() []tcpserver.Connection { return []tcpserver.Connection{f.one} }
func (f *otherFront) Disconnect(id uint64) bool {
	if id != f.one.ID {
		return false
	}
	f.closed.Store(id)
	return true
}

// connections are those that a rig's server shows.
func (r *rig) connections(query string) []connection {
	r.Helper()
	return get[connectionList](r, "GET", "/connections?"+query, "").Connections
}

func TestConnectionsOfAllProtocolsAreShown(t *testing.T) {
	front := &otherFront{one: tcpserver.Connection{ID: 1 << 40, Protocol: "kafka", Client: "192.0.2.1:5", Use: tcpserver.Use{Does: "Fetch"}}}
	r := newRig(t, Options{Fronts: []Front{front}})
	r.publish("orders", "a")
	leave := r.joinGroup("orders", "billing")
	defer leave()
	followers := r.connections("topic=orders&group=billing")
	if len(followers) != 1 || followers[0].Protocol != "http" || followers[0].Does != "consumeMessages" || followers[0].Client == "" || followers[0].Since.IsZero() {
		t.Errorf("the follower is %+v", followers)
	}
	if kafka := r.connections("protocol=kafka"); len(kafka) != 1 || kafka[0].ID != front.one.ID || kafka[0].Does != "Fetch" {
		t.Errorf("the Kafka client is %+v", kafka)
	}
	first := get[connectionList](r, "GET", "/connections?limit=1", "")
	if len(first.Connections) != 1 || first.Next != first.Connections[0].ID {
		t.Fatalf("the first is %+v", first)
	}
	if rest := r.connections(fmt.Sprint("after=", first.Next)); len(rest) < 2 || rest[0].ID <= first.Next {
		t.Errorf("the rest is %+v", rest)
	}
	r.refused(400, "BADREQUEST", "GET", "/connections?protocol=smtp", "", "smtp")
	r.refused(404, "NOTFOUND", "DELETE", "/connections/18446744073709551615?execute", "")
	r.refused(400, "BADREQUEST", "DELETE", "/connections/x?execute", "")
	path := fmt.Sprint("/connections/", front.one.ID)
	if got := get[closedConnection](r, "DELETE", path, ""); got.Executed || front.closed.Load() != 0 {
		t.Errorf("a preview has closed it: %+v", got)
	}
	if got := get[closedConnection](r, "DELETE", path+"?execute", ""); !got.Executed || front.closed.Load() != front.one.ID {
		t.Errorf("it is not closed: %+v", got)
	}
}

func TestAConnectionIsClosedByItsID(t *testing.T) {
	r := newRig(t, Options{})
	idle, err := net.Dial("tcp", r.host)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	fmt.Fprintf(idle, "GET /version HTTP/1.1\r\nHost: %s\r\n\r\n", r.host)
	in := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	} else if _, err := in.Discard(int(resp.ContentLength)); err != nil {
		t.Fatal(err)
	}
	for _, of := range r.connections("protocol=http") {
		if of.Client == idle.LocalAddr().String() {
			get[closedConnection](r, "DELETE", fmt.Sprint("/connections/", of.ID, "?execute"), "")
			if _, err := in.ReadByte(); err == nil {
				t.Error("the connection goes on")
			}
			return
		}
	}
	t.Error("it is not shown")
}

func TestTheConnectionOfTheRequestIsClosedBehindTheAnswer(t *testing.T) {
	r := newRig(t, Options{})
	own, err := net.Dial("tcp", r.host)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ask := func(method, path string) (answer string) {
		fmt.Fprintf(own, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, path, r.host)
		resp, err := http.ReadResponse(bufio.NewReader(own), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, err)
		}
		return string(p)
	}
	var list connectionList
	if err := json.Unmarshal([]byte(ask("GET", "/connections")), &list); err != nil || len(list.Connections) != 1 || list.Connections[0].Does != "listConnections" {
		t.Fatalf("%v: %+v", err, list)
	}
	ask("DELETE", fmt.Sprint("/connections/", list.Connections[0].ID, "?execute"))
	if n, err := own.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the answer: %d bytes, %v", n, err)
	}
}
