package broker

import "testing"

// To read what the log says takes minutes where there are many partitions: a stream that
// begins does not wait for another one's sake.
func TestAStreamThatBeginsDoesNotWaitForTheLog(t *testing.T) {
	var s streams
	s.loading.Lock()
	defer s.loading.Unlock()
	for id := range int64(3) {
		if _, whole, err := s.take(nil, nil, &Stream{id: id}, StreamRequest{New: true}); whole || err != nil {
			t.Errorf("got %v, %v", whole, err)
		}
	}
}
