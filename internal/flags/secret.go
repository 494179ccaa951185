package flags

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSecret is the length of the longest line that ReadSecret takes, in bytes.
const maxSecret = 4096

// ReadSecret writes a prompt, and reads a line from a terminal, which does not show what is typed. A signal that
// ends the program has the terminal show it again.
func ReadSecret(terminal *os.File, prompts io.Writer, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	restore := func() { _ = unix.IoctlSetTermios(fd, setTermios, before) }
	defer restoreAtSignals(restore)()
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	defer fmt.Fprintln(prompts) // the LF was not shown either
	defer restore()
	fmt.Fprint(prompts, prompt)
	return readLine(terminal)
}

// restoreAtSignals calls restore before a signal ends the program, until stop is called.
func restoreAtSignals(restore func()) (stop func()) {
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case s := <-signals:
			restore()
			signal.Reset(s)
			_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
		case <-stopped:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped)
	}
}

// readLine reads a line byte by byte, because the rest is not this one's.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	var b [1]byte
	for line.Len() < maxSecret {
		n, err := r.Read(b[:])
		switch {
		case n == 1 && b[0] == '\n':
			return line.String(), nil
		case n == 1:
			line.WriteByte(b[0])
		case errors.Is(err, io.EOF):
			return "", errors.New("the input has ended before the line")
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("the line has more than %d bytes", maxSecret)
}
