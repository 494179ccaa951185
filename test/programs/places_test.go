package programs

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// service is what Kubernetes, and docker --link, put into the environment of programs
// that may use a service named mbus, or mbus-NAME.
func service(name, port string) []string {
	name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return []string{
		name + "_SERVICE_HOST=10.0.0.7", name + "_SERVICE_PORT=" + port, name + "_SERVICE_PORT_LINES=" + port,
		name + "_PORT=tcp://10.0.0.7:" + port,
		name + "_PORT_" + port + "_TCP=tcp://10.0.0.7:" + port, name + "_PORT_" + port + "_TCP_PROTO=tcp",
		name + "_PORT_" + port + "_TCP_PORT=" + port, name + "_PORT_" + port + "_TCP_ADDR=10.0.0.7",
		name + "_NAME=/web/mbus", name + "_ENV_DATA=/data",
	}
}

// runIn is run with additions to the environment.
func runIn(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	return run(t, nil, "env", append(append(env, name), args...)...)
}

func TestProgramsWorkBesideServicesNamedAfterThem(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for _, name := range []string{"mbus", "mbus-producer", "mbus-consumer", "mbus-admin", "mbus-broker", "mbus-data"} {
		env := service(name, "9990")
		producer, consumer, admin := brokertest.Program(t, "producer"), brokertest.Program(t, "consumer"), brokertest.Program(t, "admin")
		p, c := brokertest.Port(b.Producers()), brokertest.Port(b.Consumers())
		runIn(t, env, producer, "-port", p, "-topic", "orders", "-message", name).mustPrint(t, "")
		runIn(t, env, consumer, "-port", c, "-topic", "orders", "-f", "%s").mustPrint(t, name)
		runIn(t, env, admin, "topics", "-port", c).mustWork(t)
		// Without the flag the port is the usual one, where no broker needs to be.
		for _, args := range [][]string{{producer, "-topic", "orders", "-message", "x"}, {consumer, "-topic", "nosuch"}, {admin, "topics"}} {
			if r := runIn(t, append(env, "MBUS_HOST=127.0.0.9"), args[0], args[1:]...); r.code != 1 || strings.Count(r.stderr, "\n") > 2 {
				t.Errorf("service %s: %q ends with %d: %s", name, args, r.code, r.stderr)
			}
		}
		runIn(t, append(env, "MBUS_PRODUCER_PORT="+p), producer, "-topic", "orders", "-message", name).mustWork(t)
		runIn(t, append(env, "MBUS_CONSUMER_PORT="+c), consumer, "-topic", "orders", "-f", "%s").mustPrint(t, name)
		p1, err := brokertest.Launch("", "/usr/bin/env", append(env, brokertest.Program(t, "broker"),
			"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir())...)
		if err != nil {
			t.Errorf("service %s: %v", name, err)
			continue
		}
		p1.Kill()
	}
}

// A consumer and the producer that it runs need no separate flags for their ports on the
// command line.
func TestProgramsOfOneEnvironmentHaveVariablesOfTheirOwn(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("in", "first order", "second order")
	env := []string{
		"MBUS_PRODUCER_PORT=" + brokertest.Port(b.Producers()),
		"MBUS_CONSUMER_PORT=" + brokertest.Port(b.Consumers()), "MBUS_PORT=1",
		"PATH=" + filepath.Dir(brokertest.Program(t, "producer")) + ":" + os.Getenv("PATH"),
	}
	runIn(t, env, brokertest.Program(t, "consumer"), "-topic", "in", "-exec", "producer -topic out").mustWork(t)
	runIn(t, env, brokertest.Program(t, "consumer"), "-topic", "out", "-f", `%s\n`).mustPrint(t, "first order\nsecond order\n")
}

// What the environment of a program says of the broker and of a message tells the programs that it runs
// neither another broker nor what to do.
func TestCommandsOfAConsumerDoWhatTheirFlagsSay(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("in", "first order")
	admin := brokertest.Program(t, "admin")
	env := []string{
		"MBUS_PORT=" + brokertest.Port(b.Consumers()), "MBUS_TOPIC=in", "MBUS_GROUP=another", "MBUS_N=0",
		"PATH=" + filepath.Dir(admin) + ":" + os.Getenv("PATH"),
	}
	producer := "producer -port " + brokertest.Port(b.Producers())
	runIn(t, env, brokertest.Program(t, "consumer"), "-topic", "in", "-exec",
		"! "+producer+" -message child 2>/dev/null && "+producer+" -topic out -message child && admin topics -topic out | grep -q out").mustWork(t)
	runIn(t, env, brokertest.Program(t, "consumer"), "-topic", "in").mustPrint(t, "")
	runIn(t, env, brokertest.Program(t, "consumer"), "-topic", "out", "-f", "%s").mustPrint(t, "child")
}

func TestEnvironmentDeletesNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	runIn(t, []string{"MBUS_EXECUTE=true"}, brokertest.Program(t, "admin"),
		"delete", "-topic", "orders", "-port", brokertest.Port(b.Consumers())).mustWork(t)
	consume(t, b, "-topic", "orders", "-f", "%s").mustPrint(t, "first order")
}

// hasIPv6 says whether this machine has ::1, and if not, logs it.
func hasIPv6(t *testing.T) bool {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("THIS MACHINE HAS NO ::1: %v", err)
		return false
	}
	l.Close()
	return true
}

func TestProgramsTakeHostsWithAndWithoutBrackets(t *testing.T) {
	if !hasIPv6(t) {
		t.Skip("needs ::1")
	}
	for listen, hosts := range map[string][]string{
		"::1":       {"::1", "[::1]"},
		"[::1]":     {"::1", "[::1]"},
		"localhost": {"localhost"},
		"::":        {"::1", "[::1]", "127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]"},
		"[::]":      {"[::1]", "127.0.0.1"},
		"0.0.0.0":   {"127.0.0.1", "127.0.0.2"},
	} {
		p, err := brokertest.Launch("", brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0",
			"-phost", listen, "-chost", listen, "-khost", listen, "-insecure", "-data", t.TempDir())
		if err != nil {
			t.Errorf("listening on %s: %v", listen, err)
			continue
		}
		for _, host := range hosts {
			run(t, nil, brokertest.Program(t, "producer"), "-host", host, "-port", brokertest.Port(p.Producers()),
				"-topic", "orders", "-message", host).mustPrint(t, "")
			run(t, nil, brokertest.Program(t, "consumer"), "-host", host, "-port", brokertest.Port(p.Consumers()),
				"-topic", "orders", "-f", "%s").mustPrint(t, host)
			run(t, nil, brokertest.Program(t, "admin"), "topics", "-host", host, "-port", brokertest.Port(p.Consumers())).mustWork(t)
		}
		p.Kill()
	}
}

func TestAddressesThatAreNoneAreWrongUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{
		{"broker", "-advertise", "::1:9092"},
		{"broker", "-advertise", "[::1]"},
		{"broker", "-advertise", "localhost"},
		{"broker", "-advertise", "0.0.0.0:9092"},
		{"broker", "-advertise", "PLAINTEXT://bus:9092"},
		{"broker", "-phost", "[::1"},
		{"broker", "-chost", "127.0.0.1:9991"},
		{"broker", "-khost", "[localhost]"},
		{"broker", "-kport", "65536"},
		{"broker", "-pport", "-1"},
		{"producer", "-topic", "t", "-message", "x", "-host", "[::1"},
		{"producer", "-topic", "t", "-message", "x", "-host", "localhost:9990"},
		{"consumer", "-topic", "t", "-host", "[localhost]"},
		{"admin", "topics", "-host", "tcp://127.0.0.1"},
	} {
		flags := args[1:]
		if args[0] == "broker" {
			flags = append(flags, "-data", dir)
		}
		if r := run(t, nil, brokertest.Program(t, args[0]), flags...); r.code != 2 || r.stderr == "" {
			t.Errorf("%q: exit code %d, %q", args, r.code, r.stderr)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a broker that was called in a wrong way has made its directory")
	}
}

func TestPortThatCanNotBeHadIsNamedWithItsFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	dir := filepath.Join(t.TempDir(), "data")
	for flag, words := range map[string][]string{
		"-pport": {"the producers' port", "127.0.0.1:" + port, "already in use", "another broker"},
		"-cport": {"the consumers' port", "127.0.0.1:" + port, "already in use", "another broker"},
		"-kport": {"the Kafka clients' port", "127.0.0.1:" + port, "already in use", "another broker"},
		"-hport": {"the HTTP clients' port", "127.0.0.1:" + port, "already in use", "another broker"},
	} {
		args := []string{"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", dir, flag, port}
		mustFail(t, append(words, flag), args)
	}
	for _, flag := range []string{"-phost", "-chost", "-khost", "-hhost"} {
		args := []string{"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", dir, flag, "192.0.2.1"}
		mustFail(t, []string{flag, "192.0.2.1", "this machine does not have the address"}, args)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a broker without its ports has made its directory")
	}
}

// mustFail fails the test unless the broker ends with 1 and one line that has all of
// the words.
func mustFail(t *testing.T, words, args []string) {
	t.Helper()
	r := run(t, nil, brokertest.Program(t, "broker"), args...)
	if r.code != 1 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%q: exit code %d, %q", args, r.code, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("%q: %q does not have %q", args, r.stderr, word)
		}
	}
}

func TestFewDescriptorsAreWarnedOfAtTheStart(t *testing.T) {
	for limit, warns := range map[string]bool{"100": true, "2000": false} {
		p, err := brokertest.Launch("", "/bin/sh", "-c", "ulimit -n "+limit+` && exec "$0" "$@"`, brokertest.Program(t, "broker"),
			"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir(), "-max-connections", "500")
		if err != nil {
			t.Fatal(err)
		}
		p.Kill()
		said := strings.Count(p.Output(), "level=WARN")
		if warned := strings.Contains(p.Output(), "-max-connections") && strings.Contains(p.Output(), "limit="+limit); warned != warns || said > 1 {
			t.Errorf("with %s descriptors it says %s", limit, p.Output())
		}
	}
}

// nobody is the number of a user that no file names.
const nobody = 54321

// asNobody has a command run as such a user, with nothing in its environment, where
// this process may become another one.
func asNobody(cmd *exec.Cmd) {
	cmd.Env = []string{}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// ownedDirectory makes a directory of nobody's with this mode, and gives a copy of a
// program that nobody may run.
func ownedDirectory(t *testing.T, program string, mode os.FileMode) (dir, copied string) {
	t.Helper()
	top := t.TempDir()
	dir, copied = filepath.Join(top, "own"), filepath.Join(top, program)
	content, err := os.ReadFile(brokertest.Program(t, program))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chmod(filepath.Dir(top), 0o755), os.Chmod(top, 0o755), os.Mkdir(dir, 0o700),
		os.WriteFile(copied, content, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) }) // so that it can be removed
	return dir, copied
}

func TestConsumerWritesIntoADirectoryThatItMayNotList(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	dir, program := ownedDirectory(t, "consumer", 0o300)
	for range 2 {
		cmd := exec.Command(program, "-port", brokertest.Port(b.Consumers()), "-topic", "orders", "-out", filepath.Join(dir, "orders"), "-f", `%s\n`)
		asNobody(cmd)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "orders")); err != nil || string(text) != "first order\n" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// As OpenShift runs it: a user that no file names, nothing in the environment, and a data
// directory whose parent may be passed and not listed.
func TestBrokerRunsAsAUserWithoutANameWhereItMayListNothingElse(t *testing.T) {
	dir, program := ownedDirectory(t, "broker", 0o700)
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.Command(program, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", filepath.Join(dir, "data"))
		asNobody(cmd)
		cmd.Dir = "/"
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		var said strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if strings.HasPrefix(lines.Text(), "next: ") {
				cmd.Process.Signal(syscall.SIGTERM)
			}
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "next: ") || strings.Contains(said.String(), "level=WARN") {
			t.Errorf("it ends with %v and said %s", err, said.String())
		}
	}
}

func TestVerifyingWhatIsNotThereSaysSo(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nosuch")
	r := run(t, nil, brokertest.Program(t, "broker"), "-verify", missing)
	if want := fmt.Sprintf("%q", missing); r.code != 1 || !strings.Contains(r.stderr, "no such file or directory") || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}
}
