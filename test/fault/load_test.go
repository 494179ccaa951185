package fault

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// publish sends a publisher's messages over one connection to the producers'
// port at address, in bursts with more or less of them unanswered, until the
// connection fails or stop is closed and all is answered. counted is called with
// each answer's number, that of all messages of the connection so far. It returns the last answer
// that was an error, empty if there was none.
func (l *ledger) publish(address, publisher string, r *rand.Rand, stop <-chan struct{}, counted func(n int)) string {
	tcp, err := net.Dial("tcp", address)
	conn, err := secured(tcp, err, l.config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(conn)
	first, sent, acked := -1, 0, 0
	_, err = io.WriteString(conn, l.login+l.topic+l.options+"\n")
	for {
		allowed, last := r.IntN(1000), false // unanswered
		select {
		case <-stop:
			allowed, last = 0, true
		default:
			var burst strings.Builder
			for range 1 + r.IntN(200) {
				n := l.send(publisher, first)
				if first < 0 {
					first = n
				}
				burst.WriteString(l.message(publisher, n, n*7919%400) + "\n")
				sent++
			}
			if err == nil {
				_, err = io.WriteString(conn, burst.String())
			}
		}
		for err != nil || sent-acked > allowed {
			line, readErr := answers.ReadString('\n')
			if readErr != nil {
				return ""
			}
			line = strings.TrimSuffix(line, "\n")
			n, ok := count(line)
			if !ok {
				return line
			}
			for ; acked < n; acked++ {
				l.acknowledge(publisher, first+acked)
			}
			counted(n)
		}
		if last {
			return ""
		}
	}
}

// count reads an answer of the form +N.
func count(answer string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(answer, "+")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}

// lines splits what a drain gave.
func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	return list
}

// name is the name of the nth publisher.
func name(n int) string { return fmt.Sprintf("p%d", n) }
