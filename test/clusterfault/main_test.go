// Package clusterfault tries to prove the promises of a cluster wrong: it kills nodes, freezes them, cuts them off, and counts
// what is lost. Each case is a test, TestC01… to TestC43…, brief in "make test" and as long as -long has it.
package clusterfault

import (
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"mbus/test/brokertest"
	"mbus/test/oracle"
)

var (
	long       = flag.Bool("long", false, "run each case to the figures of a long run instead of briefly")
	rounds     = flag.Int("rounds", 0, "run each case so many times in place of what -long says")
	failover   = flag.Duration("failover", 2*time.Second, "-cluster-failover of the nodes; 0 for the engine's own")
	recordFile = flag.String("record", "", "add the table of this run, as Markdown, to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	brokertest.Main(m, func(code int) int { return oracle.Finish(code, *recordFile, "") })
}

// runs is how often a case does its work: brief or, with -long, thorough times.
func runs(brief, thorough int) int {
	switch {
	case *rounds > 0:
		return *rounds
	case *long:
		return thorough
	}
	return brief
}

// start starts a cluster on loopback, with clients of all kinds.
func start(t *testing.T) *load {
	t.Helper()
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	return startLoad(t, brokertest.StartCluster(t, 3, "-cluster-failover", failover.String()), nil)
}

// needLong skips a test of which the brief run has enough in another one, because each cluster takes its time to start and to stop.
func needLong(t *testing.T) {
	t.Helper()
	if !*long && *rounds == 0 {
		t.Skip("needs -long or -rounds: the brief run has it within another case")
	}
}

// drain reads the answer to a request to its end.
func drain(conn net.Conn, request string) (string, error) {
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
