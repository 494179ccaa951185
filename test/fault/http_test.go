package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// fixedHTTP has a broker serve HTTP where it did before.
func fixedHTTP(t *testing.T) []string {
	return []string{"-hport", brokertest.Port(brokertest.Reserve(t))}
}

// An httpClient sends requests to one address, where there may be no broker for a while.
type httpClient struct {
	address string
	*http.Client
}

func newHTTPClient(t *testing.T, address string) *httpClient {
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &httpClient{address, &http.Client{Transport: transport}}
}

// An httpAnswer is what a request was answered with. The fields are those of all documents.
type httpAnswer struct {
	status int
	body   string

	Code      string
	Offset    *int64
	Published int
	Applied   int
	Expired   []string
	Messages  []httpMessage
}

type httpMessage struct {
	Token     string
	Attempt   int
	Partition int
	Offset    int64
	Payload   string
}

// errNotReady is the error of a broker that does not serve yet, or no longer.
var errNotReady = errors.New("the broker is not ready")

// do sends a request. Headers are pairs of name and value. The error is that there is no answer,
// or none but that the broker is not ready.
func (c *httpClient) do(method, path string, body io.Reader, headers ...string) (a httpAnswer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body)
	if err != nil {
		return a, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a.status, a.body = resp.StatusCode, string(p)
	_ = json.Unmarshal(p, &a) // messages are no document
	if a.status == http.StatusServiceUnavailable {
		err = fmt.Errorf("%w: %s", errNotReady, a.body)
	}
	return a, err
}

// insist sends a request until a broker answers it. send makes a new one each time.
func insist(send func() (httpAnswer, error)) (a httpAnswer, err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if a, err = send(); err == nil || time.Now().After(deadline) {
			return a, err
		}
	}
}
