package programs

import (
	"bufio"
	"net"
	"os/exec"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// A restart of the broker and the deletion of the topic both end a consumer's connection. The
// consumer goes on after the first, and ends with 1 and a clear message after the second.
func TestFollowersOutliveARestartAndEndWhenTheirTopicIsDeleted(t *testing.T) {
	for name, args := range map[string][]string{
		"follow":         {"-f", `%s\n`},
		"follow a group": {"-group", "billing", "-f", `%s\n`},
		"look":           {"-from", "beginning", "-f", `%s\n`},
		"exec":           {"-group", "mail", "-exec", "cat; echo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, port, err := net.SplitHostPort(brokertest.Reserve(t))
			if err != nil {
				t.Fatal(err)
			}
			b := brokertest.Start(t, t.TempDir(), "-cport", port)
			b.Publish("orders", "before")
			cmd := exec.Command(brokertest.Program(t, "consumer"), append([]string{"-port", port, "-topic", "orders", "-follow"}, args...)...)
			cmd.Env = brokertest.Environment()
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			lines := bufio.NewReader(stdout)
			for _, message := range []string{"before", "after"} {
				got := brokertest.ReadLine(t, lines)
				for message == "after" && got == "before" { // the broker may have stopped before it read the acknowledgement
					got = brokertest.ReadLine(t, lines)
				}
				if got != message {
					t.Fatalf("the consumer prints %q, want %q", got, message)
				}
				if message == "before" {
					b.Stop()
					b.Begin()
					if err := b.Ready(); err != nil {
						t.Fatal(err)
					}
					b.Publish("orders", "after")
				}
			}
			run(t, nil, brokertest.Program(t, "admin"), "delete", "-port", port, "-topic", "orders", "-execute").mustWork(t)
			if rest, err := lines.ReadString(0); rest != "" {
				t.Errorf("the consumer prints %q, %v", rest, err)
			}
			_ = cmd.Wait()
			said := stderr.String()
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasSuffix(said, "\nconsumer: topic \"orders\" was deleted: start the consumer again to read a new topic of this name\n") {
				t.Errorf("the consumer ends with %d: %s", code, said)
			}
			if !strings.Contains(said, "consumer: connected again\n") {
				t.Errorf("the consumer says %s", said)
			}
		})
	}
}
