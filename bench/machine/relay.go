package machine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// relayVariable, if set in the environment, makes a program of this module the
// relay. Its value is the file that is written and synced, "-" for none.
const relayVariable = "MBUS_BENCH_RELAY"

// pieceSize is how much is passed on at once, in bytes.
const pieceSize = 256 << 10

// A Relay is a process that sends what comes on one connection out on another:
// what no broker does faster.
type Relay struct {
	In, Out *net.TCPConn
	cmd     *exec.Cmd
}

// StartRelay runs this program again as the relay, and connects to it twice. If
// file is not empty everything is written there and synced before it is passed
// on. The program must call BeRelay first of all.
func StartRelay(file string) (*Relay, error) {
	if file == "" {
		file = "-"
	}
	cmd, address, err := spawn(relayVariable + "=" + file)
	if err != nil {
		return nil, err
	}
	r := &Relay{cmd: cmd}
	if err := r.connect(address); err != nil {
		r.Stop()
		return nil, fmt.Errorf("relay: %w", err)
	}
	return r, nil
}

// spawn runs this program again with a variable in its environment that makes it a
// server, which says first where it listens.
func spawn(variable string) (cmd *exec.Cmd, address string, err error) {
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	if _, err := fmt.Fscan(stdout, &address); err != nil {
		return nil, "", errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, address, nil
}

func (r *Relay) connect(address string) error {
	for _, to := range []**net.TCPConn{&r.In, &r.Out} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		*to = conn.(*net.TCPConn)
	}
	return nil
}

// Pid is the relay's process id.
func (r *Relay) Pid() int { return r.cmd.Process.Pid }

// Stop ends the relay and its connections.
func (r *Relay) Stop() {
	for _, conn := range []*net.TCPConn{r.In, r.Out} {
		if conn != nil {
			conn.Close()
		}
	}
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()
}

// RelayRate sends total bytes through a relay and gives bytes a second.
func RelayRate(total int) (float64, error) {
	r, err := StartRelay("")
	if err != nil {
		return 0, err
	}
	defer r.Stop()
	begun := time.Now()
	sent := make(chan error, 1)
	go func() {
		err := WriteRepeatedly(r.In, make([]byte, pieceSize), total)
		sent <- errors.Join(err, r.In.CloseWrite())
	}()
	n, err := Discard(r.Out)
	if err != nil {
		return 0, err
	}
	if err := <-sent; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// WriteRepeatedly writes piece until there were at least total bytes.
func WriteRepeatedly(w io.Writer, piece []byte, total int) error {
	for n := 0; n < total; n += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// Discard reads to the end and counts the bytes.
func Discard(r io.Reader) (int, error) {
	buf := make([]byte, pieceSize)
	for total := 0; ; {
		n, err := r.Read(buf)
		total += n
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// BeRelay does not return where the program was started to be a relay.
func BeRelay() {
	file := os.Getenv(relayVariable)
	if file == "" {
		return
	}
	if err := runRelay(file); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runRelay copies what the first connection sends to the second, through
// memory as a broker has to.
func runRelay(file string) error {
	keep := func([]byte) error { return nil }
	if file != "-" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		keep = func(p []byte) error {
			if _, err := f.Write(p); err != nil {
				return err
			}
			return syscall.Fdatasync(int(f.Fd()))
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	in, err := l.Accept()
	if err != nil {
		return err
	}
	out, err := l.Accept()
	if err != nil {
		return err
	}
	return pass(in, out, keep)
}

func pass(in io.Reader, out io.WriteCloser, keep func([]byte) error) error {
	buf := make([]byte, pieceSize)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if err := keep(buf[:n]); err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}
