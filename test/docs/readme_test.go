package docs

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// Every line of the sh blocks is run, in order, in a directory that looks like
// a checkout after make. A text block that follows shows what the sh block
// before it prints, but for times. Lines of make are only looked up, with
// make -n, as this test is part of one; the broker runs in the background.
func TestReadmeCommandsDoWhatItSays(t *testing.T) { commandsDo(t, "README.md", 3) }

func TestGuideCommandsDoWhatItSays(t *testing.T) { commandsDo(t, "docs/guide.md", 8) }

func TestCommandsForKafkaClientsDoWhatIsSaid(t *testing.T) { commandsDo(t, "KAFKA.md", 1) }

func TestCommandsForHTTPClientsDoWhatIsSaid(t *testing.T) { commandsDo(t, "docs/http.md", 6) }

func TestCommandsForOperatorsDoWhatIsSaid(t *testing.T) { commandsDo(t, "docs/operations.md", 2) }

// commandsDo compares at least so many outputs.
func commandsDo(t *testing.T, name string, least int) {
	t.Helper()
	newScratch(t).runDocument(name, least)
}

func (s *scratch) runDocument(name string, least int) {
	t := s.t
	t.Helper()
	fenced, _ := blocks(document(t, name))
	compared := 0
	output := ""
	for _, b := range fenced {
		switch b.language {
		case "sh":
			output = s.runAll(b)
		case "text":
			compared++
			want := strings.Join(b.lines, "\n") + "\n"
			if normal(output) != normal(want) {
				t.Errorf("%s, line %d: the commands above print %q", name, b.line, output)
			}
		}
	}
	if compared < least {
		t.Errorf("%d outputs compared", compared)
	}
}

var times = regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d|"ts":\d+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)

func normal(output string) string { return times.ReplaceAllString(output, "TIME") }

// A scratch is a directory in which a reader's commands are run, with ports of
// its own behind the usual ones.
type scratch struct {
	t      *testing.T
	dir    string
	broker *brokertest.Process
	remote string // the address in place of bus.example, on which the broker listens, too; "" for loopback only
}

func newScratch(t *testing.T) *scratch {
	t.Helper()
	s := &scratch{t: t, dir: t.TempDir()}
	for _, name := range []string{"Makefile", "LICENSE"} {
		s.write(name, document(t, name), 0o600)
	}
	s.write("build/broker", "#!/bin/sh\nexec '"+brokertest.Program(t, "broker")+"' \"$@\"\n", 0o700)
	return s
}

func (s *scratch) write(name, content string, mode os.FileMode) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

// runAll runs the lines of a block and gives what they print.
func (s *scratch) runAll(b block) string {
	s.t.Helper()
	var output strings.Builder
	for i, line := range b.lines {
		if strings.HasPrefix(line, "./build/broker") && !strings.Contains(line, " -verify ") {
			s.startBroker(line)
			continue
		}
		cmd := s.shell(line)
		cmd.Stdout = &output
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			s.t.Fatalf("line %d, %q: %v: %s%s", b.line+i, line, err, output.String(), stderr.String())
		}
	}
	return output.String()
}

// shell is the line, to be run by a shell.
func (s *scratch) shell(line string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", s.command(line))
	cmd.Dir, cmd.Env = s.dir, brokertest.Environment()
	return cmd
}

// command is the line with this broker's ports.
func (s *scratch) command(line string) string {
	if line == "make" || strings.HasPrefix(line, "make ") {
		return strings.Replace(line, "make", "make -n >/dev/null", 1)
	}
	if s.broker == nil {
		return line
	}
	host := cmp.Or(s.remote, "localhost")
	line = strings.ReplaceAll(line, "-host bus.example ", "-host "+host+" ")
	line = strings.ReplaceAll(line, "bus.example:9990", host+":"+brokertest.Port(s.broker.Producers()))
	line = strings.ReplaceAll(line, "bus.example:9991", host+":"+brokertest.Port(s.broker.Consumers()))
	line = strings.ReplaceAll(line, "bus.example:9992", host+":"+brokertest.Port(s.broker.HTTP()))
	line = strings.ReplaceAll(line, "bus.example:9092", host+":"+brokertest.Port(s.broker.Kafka()))
	line = strings.ReplaceAll(line, "-hosts bus.example", "-hosts "+host)
	line = strings.ReplaceAll(line, "127.0.0.1 9990", "127.0.0.1 "+brokertest.Port(s.broker.Producers()))
	line = strings.ReplaceAll(line, "127.0.0.1 9991", "127.0.0.1 "+brokertest.Port(s.broker.Consumers()))
	line = strings.ReplaceAll(line, "localhost:9992", "localhost:"+brokertest.Port(s.broker.HTTP()))
	return strings.ReplaceAll(line, "127.0.0.1:9092", s.broker.Kafka())
}

// otherHosts are flags that have a broker listen for other machines.
var otherHosts = regexp.MustCompile(` -[pckh]host 0\.0\.0\.0`)

// startBroker runs the broker in the directory, and puts the clients there with
// its ports as their defaults.
func (s *scratch) startBroker(line string) {
	s.t.Helper()
	if s.broker != nil { // which the page stops with ^C
		s.broker.Terminate()
		if err := s.broker.Wait(); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.remote == "" {
		line = otherHosts.ReplaceAllString(line, "")
	}
	flags := strings.Fields(line)[1:]
	var err error
	s.broker, err = brokertest.Launch(s.dir, brokertest.Program(s.t, "broker"), append(flags, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0")...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.broker.Kill)
	for name, address := range map[string]string{
		"producer": s.broker.Producers(), "consumer": s.broker.Consumers(), "admin": s.broker.Consumers(),
	} {
		s.write("build/"+name, "#!/bin/sh\nMBUS_PORT="+brokertest.Port(address)+" MBUS_HPORT="+brokertest.Port(s.broker.HTTP())+" exec '"+
			brokertest.Program(s.t, name)+"' \"$@\"\n", 0o700)
	}
}
