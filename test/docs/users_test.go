package docs

import (
	"bufio"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A secured is a scratch whose broker has TLS, the user alice with a password, a token and a certificate, and one
// message in the topic orders. Its directory has the files that the documents name.
type secured struct {
	*scratch
	password string
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := newScratch(t)
	clients := brokertest.NewAuthority(t)
	clients.WriteAuthority(filepath.Join(s.dir, "clients.pem"))
	alice := clients.Issue(x509.Certificate{Subject: pkix.Name{CommonName: "alice"}})
	clients.WritePair(alice, filepath.Join(s.dir, "alice.pem"), filepath.Join(s.dir, "alice.key"))
	s.startBroker("./build/broker")
	s.runAll(block{lines: []string{
		"./build/admin cert -self-signed",
		"umask 077; ./build/admin user add alice -generate >alice.password",
		"./build/admin grant alice publish,consume orders -group '*'",
		"./build/admin grant alice describe '*' -group '*'",
		"umask 077; ./build/admin token add alice >alice.token",
		"umask 077; printf 'Authorization: Bearer %s\\n' \"$(cat alice.token)\" >alice.header",
	}})
	s.startBroker("./build/broker -tls-cert cert.pem -tls-key key.pem -tls-client-ca clients.pem")
	password, err := os.ReadFile(filepath.Join(s.dir, "alice.password"))
	if err != nil {
		t.Fatal(err)
	}
	return &secured{s, strings.TrimSpace(string(password))}
}

// run runs lines in one shell, without a terminal and with the authority of the broker among those of the system; typed is
// what the user types.
func (s *secured) run(lines []string, typed string) (output string, err error) {
	s.t.Helper()
	cmd := s.shell(strings.Join(lines, "\n"))
	cmd.Env = append(cmd.Env, "SSL_CERT_FILE=ca.pem", "CURL_CA_BUNDLE=ca.pem", "PATH="+filepath.Join(s.dir, "build")+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(typed)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // programs ask where they can
	out, err := cmd.Output()
	if e, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, e.Stderr)
	}
	return string(out), err
}

// The commands of the guide, with a password in place of the dots.
func TestGuideCommandsOverTLSDoWhatIsSaid(t *testing.T) {
	s := newSecured(t)
	fenced, _ := blocks(section(t, "docs/guide.md", "Over TLS, as a user"))
	if len(fenced) != 1 || len(fenced[0].lines) < 3 || !strings.HasSuffix(fenced[0].lines[0], "=...") {
		t.Fatalf("the commands have changed: %v", fenced)
	}
	lines := fenced[0].lines
	lines[0] = strings.Replace(lines[0], "...", s.password, 1)
	output, err := s.run(append([]string{"set -e"}, lines...), "")
	if got := normal(output); err != nil || got != "TIME [orders] first order\n" {
		t.Errorf("they print %q, %v", got, err)
	}
}

// The settings for librdkafka, as a file of kcat, with a password in place of the dots.
func TestSettingsOfKafkaClientsAreTrue(t *testing.T) {
	brokertest.NeedTools(t, "kcat")
	s := newSecured(t)
	fenced, _ := blocks(section(t, "KAFKA.md", "Users and permissions"))
	if len(fenced) != 1 || !strings.Contains(strings.Join(fenced[0].lines, "\n"), "sasl.password=...") {
		t.Fatalf("the settings have changed: %v", fenced)
	}
	s.write("kcat.conf", strings.Replace(strings.Join(fenced[0].lines, "\n"), "...", s.password, 1)+"\n", 0o600)
	output, err := s.run([]string{
		"echo hello | kcat -F kcat.conf -b bus.example:9092 -P -t orders",
		"kcat -F kcat.conf -b bus.example:9092 -C -t orders -o beginning -e -q",
	}, "")
	if err != nil || output != "hello\n" {
		t.Errorf("kcat prints %q, %v", output, err)
	}
	s.write("kcat.conf", strings.Replace(strings.Join(fenced[0].lines, "\n"), "...", "wrong", 1)+"\n", 0o600)
	if output, err := s.run([]string{"kcat -F kcat.conf -b bus.example:9092 -C -t orders -o beginning -e -q"}, ""); err == nil {
		t.Errorf("with a wrong password kcat prints %q", output)
	}
}

var commandInRow = regexp.MustCompile("(?m)^\\| [^|]* \\| `(curl [^`]*)`")

// Each way to log in is a command that shows what the user may see, and is refused to others.
func TestEachWayToLogInOverHTTPIsTrue(t *testing.T) {
	brokertest.NeedTools(t, "curl")
	s := newSecured(t)
	rows := commandInRow.FindAllStringSubmatch(section(t, "docs/http.md", "Users"), -1)
	if len(rows) < 3 {
		t.Fatalf("commands: %q", rows)
	}
	const all = `{"topics":[`
	for _, row := range rows {
		typed := ""
		if strings.Contains(row[1], "-u alice ") {
			typed = s.password + "\n"
		}
		if output, err := s.run([]string{row[1]}, typed); err != nil || !strings.HasPrefix(output, all) {
			t.Errorf("%s prints %q, %v", row[1], output, err)
		}
	}
	if output, err := s.run([]string{rows[0][1]}, "wrong\n"); err != nil || !strings.Contains(output, "UNAUTHENTICATED") {
		t.Errorf("with a wrong password it prints %q, %v", output, err)
	}
}

// Prometheus scrapes a broker with each configuration of the document, but for the addresses and the files' directory.
func TestConfigurationsOfPrometheusAreTrue(t *testing.T) {
	brokertest.Slow(t)
	var configs []string
	fenced, _ := blocks(section(t, "docs/operations.md", "Metrics"))
	for _, b := range fenced {
		if b.language == "yaml" {
			configs = append(configs, strings.Join(b.lines, "\n")+"\n")
		}
	}
	if len(configs) != 2 {
		t.Fatalf("configurations: %q", configs)
	}
	plain := newScratch(t)
	plain.startBroker("./build/broker")
	mustScrape(t, plain.command(configs[0]))

	s := newSecured(t)
	s.runAll(block{lines: []string{"umask 077; cp alice.token mbus-token"}})
	config := strings.ReplaceAll(s.command(configs[1]), "/etc/prometheus/", s.dir+"/")
	mustScrape(t, config)
}

// mustScrape has a server of Prometheus scrape, and waits for the metrics of a broker.
func mustScrape(t *testing.T, config string) {
	t.Helper()
	server := brokertest.StartPrometheus(t, "global: {scrape_interval: 1s}\n"+config)
	brokertest.Await(t, patience, "Prometheus has metrics of the broker", func() bool {
		answer, err := http.Get(server + "/api/v1/query?query=" + url.QueryEscape(`up{job="mbus"} == 1 and on(instance) mbus_healthy`))
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		var found struct {
			Data struct{ Result []json.RawMessage }
		}
		text, err := io.ReadAll(answer.Body)
		return err == nil && json.Unmarshal(text, &found) == nil && len(found.Data.Result) > 0
	})
}

// The two commands that follow a topic over HTTP print each message at once.
func TestFollowersOverHTTPGetWhatComes(t *testing.T) {
	brokertest.NeedTools(t, "curl")
	s := newScratch(t)
	s.startBroker("./build/broker")
	commands := indented(section(t, "docs/http.md", "Consuming"))
	if len(commands) != 2 {
		t.Fatalf("commands: %q", commands)
	}
	for i, command := range commands {
		message := fmt.Sprint("message ", i)
		s.runAll(block{lines: []string{"./build/producer -topic orders -message '" + message + "'"}})
		cmd := s.shell("exec " + command)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		found := make(chan bool, 1)
		go func() {
			has := false
			for scan := bufio.NewScanner(out); !has && scan.Scan(); {
				has = strings.Contains(scan.Text(), message)
			}
			found <- has
		}()
		select {
		case has := <-found:
			if !has {
				t.Errorf("%s ends without the message", command)
			}
		case <-time.After(patience):
			t.Errorf("%s does not print the message", command)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

var variableInRow = regexp.MustCompile("(?m)^\\| `(MBUS_[A-Z_]+=[^`]+)` \\| `(-[a-z-]+)`")

// The variables for a container start a broker that other machines reach, with its certificate.
func TestVariablesForAContainerAreTrue(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	s := newSecured(t)
	s.broker.Terminate()
	if err := s.broker.Wait(); err != nil {
		t.Fatal(err)
	}
	rows := variableInRow.FindAllStringSubmatch(document(t, "docs/operations.md"), -1)
	if len(rows) < 9 {
		t.Fatalf("variables: %q", rows)
	}
	var args []string
	for _, row := range rows {
		if row[2] != "-insecure" {
			args = append(args, strings.Replace(row[1], "=/tls/", "="+s.dir+"/", 1))
		}
	}
	args = append(args, brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", "data")
	p, err := brokertest.Launch(s.dir, "env", args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for protocol, address := range map[string]string{"lines": p.Producers(), "consumers": p.Consumers(), "Kafka": p.Kafka(), "HTTP": p.HTTP()} {
		out, err := exec.Command("curl", "-sk", "--http1.0", "https://"+brokertest.Foreign+":"+brokertest.Port(address)+"/livez").CombinedOutput()
		if protocol == "HTTP" && (err != nil || !strings.Contains(string(out), "ok")) {
			t.Errorf("%s at another address: %q, %v", protocol, out, err)
		}
		if e, ok := err.(*exec.ExitError); ok && e.ExitCode() == 7 {
			t.Errorf("%s at another address: nobody listens", protocol)
		}
	}
}
