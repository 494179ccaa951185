package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// diskRate writes a file in pieces of 1 MiB with fdatasync after each, and
// gives bytes a second.
func diskRate(dir string, total int) (float64, error) {
	piece := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	pairs := total / len(piece)
	took, err := writeAndSync(dir, piece, pairs)
	return float64(pairs*len(piece)) / took.Seconds(), err
}

// syncTime is the mean time of writing one record and syncing it.
func syncTime(dir string, pairs int) (time.Duration, error) {
	took, err := writeAndSync(dir, make([]byte, 170), pairs)
	return took / time.Duration(pairs), err
}

func writeAndSync(dir string, piece []byte, pairs int) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "machine"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	begun := time.Now()
	for range pairs {
		if _, err := f.Write(piece); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// relayRate sends total bytes through a process that reads and writes them, one
// connection in and one out, and gives bytes a second.
func relayRate(total int) (float64, error) {
	in, out, stop, err := startRelay()
	if err != nil {
		return 0, err
	}
	defer stop()
	defer out.Close()
	begun := time.Now()
	sent := make(chan error, 1)
	go func() {
		defer in.Close()
		sent <- writeRepeatedly(in, make([]byte, 256<<10), total)
	}()
	n, err := discard(out)
	if err != nil {
		return 0, err
	}
	if err := <-sent; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

func writeRepeatedly(w io.Writer, piece []byte, total int) error {
	for n := 0; n < total; n += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// startRelay runs this program again as the relay, and connects to it twice.
func startRelay() (in, out net.Conn, stop func(), err error) {
	cmd := exec.Command(os.Args[0], "-relay")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}
	var address string
	if _, err = fmt.Fscan(stdout, &address); err == nil {
		in, err = net.Dial("tcp", address)
	}
	if err == nil {
		out, err = net.Dial("tcp", address)
	}
	if err != nil {
		stop()
		return nil, nil, nil, fmt.Errorf("relay: %w", err)
	}
	return in, out, stop, nil
}

// runRelay copies what the first connection sends to the second, through
// memory as a broker has to.
func runRelay() error {
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
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// describe names the processor, the number of cores and the kernel.
func describe() string {
	info, _ := os.ReadFile("/proc/cpuinfo") // for people; empty where there is none
	model, cores := "unknown processor", 0
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			cores++
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s", model, cores, strings.TrimSpace(string(kernel)))
}
