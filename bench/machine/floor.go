package machine

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// floorVariable, if set in the environment, makes a program of this module the
// floor. Its value is the file that is written and synced.
const floorVariable = "MBUS_BENCH_FLOOR"

// floorBytes is how much of the file is written again and again, so that a sync
// writes nothing but the lines.
const floorBytes = 16 << 20

// A Floor is a process that takes lines as the broker does, and only reads them,
// writes them into one file, syncs it, and answers: what no broker in Go does
// faster.
type Floor struct {
	Address string // takes a line with a request, which means nothing, and messages
	cmd     *exec.Cmd
}

// StartFloor runs this program again as the floor, over the file. The program
// must call BeFloor first of all.
func StartFloor(file string) (*Floor, error) {
	cmd, address, err := spawn(floorVariable + "=" + file)
	return &Floor{address, cmd}, err
}

// Pid is the floor's process id.
func (f *Floor) Pid() int { return f.cmd.Process.Pid }

// Stop ends the floor.
func (f *Floor) Stop() {
	_ = f.cmd.Process.Kill() // it may have ended
	_ = f.cmd.Wait()
}

// BeFloor does not return where the program was started to be the floor.
func BeFloor() {
	if file := os.Getenv(floorVariable); file != "" {
		fmt.Fprintln(os.Stderr, "floor:", runFloor(file))
		os.Exit(1)
	}
}

func runFloor(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := file.Write(make([]byte, floorBytes)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	s := &synced{file: file, some: make(chan struct{}, 1)}
	go s.acceptAll(l)
	return s.run()
}

// synced is the file that all connections share.
type synced struct {
	file *os.File
	some chan struct{} // has an element when lines may wait

	mu      sync.Mutex // guards what follows
	lines   []byte
	waiting []answer
}

// An answer is to be written when the line is synced.
type answer struct {
	conn   net.Conn
	number int
}

func (s *synced) acceptAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		go s.read(conn)
	}
}

// read adds the lines of a connection, but the first, until it ends.
func (s *synced) read(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for n := 0; ; n++ {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		if n > 0 {
			s.add(line, answer{conn, n})
		}
	}
}

func (s *synced) add(line []byte, a answer) {
	s.mu.Lock()
	s.lines = append(s.lines, line...)
	s.waiting = append(s.waiting, a)
	s.mu.Unlock()
	select {
	case s.some <- struct{}{}:
	default:
	}
}

// run writes and syncs what has come, and answers, again and again.
func (s *synced) run() error {
	var lines, text []byte
	var waiting []answer
	for at := 0; ; at += len(lines) {
		<-s.some
		s.gather()
		s.mu.Lock()
		lines, s.lines = s.lines, lines[:0]
		waiting, s.waiting = s.waiting, waiting[:0]
		s.mu.Unlock()
		if at+len(lines) > floorBytes {
			at = 0
		}
		if _, err := s.file.WriteAt(lines, int64(at)); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(s.file.Fd())); err != nil {
			return err
		}
		for _, a := range waiting {
			text = append(strconv.AppendInt(append(text[:0], '+'), int64(a.number), 10), '\n')
			_, _ = a.conn.Write(text) // the client may have left
		}
	}
}

// gather lets connections add their lines until none does.
func (s *synced) gather() {
	for last := -1; ; {
		runtime.Gosched()
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n == last {
			return
		}
		last = n
	}
}
