package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// positionOf is the text of a position of the topic orders.
func positionOf(size int64, next map[int]int64) string {
	return (&position{topic: "orders", size: size, next: next}).encode()
}

// positionIn is the text of the position in the file, but for what says which topic and
// which file it is of.
func positionIn(t *testing.T, path string) string {
	t.Helper()
	p, err := decodePosition(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return positionOf(p.size, p.next)
}

// runInto runs a consumer into the file, and returns its request.
func runInto(t *testing.T, path, stream string, args ...string) (request string) {
	t.Helper()
	b := listen(t)
	p, _ := start(t, b, append([]string{"-out", path, "-f", `%s\n`}, args...)...)
	b.serve(stream)
	p.check(t, 0, "")
	return b.request
}

func TestFileGoesOnWhereItEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	for _, tt := range []struct{ stream, request, file, position string }{
		{
			".\n",
			"orders?format=batch&from=beginning\n", "",
			positionOf(0, nil),
		},
		{
			"@0\n" + batchOf(0, "a", "b") + "@3\n" + batchOf(9, "c") + ".\n",
			"orders?format=batch&from=beginning\n", "a\nb\nc\n",
			positionOf(6, map[int]int64{0: 2, 3: 10}),
		},
		{
			"@0\n" + batchOf(2, "d") + ".\n",
			"orders?format=batch&from=0%3A2%2C3%3A10\n", "a\nb\nc\nd\n",
			positionOf(8, map[int]int64{0: 3, 3: 10}),
		},
	} {
		if got := runInto(t, path, tt.stream); got != tt.request {
			t.Errorf("request %q, want %q", got, tt.request)
		}
		if got := read(t, path); got != tt.file {
			t.Errorf("the file has %q, want %q", got, tt.file)
		}
		if got := positionIn(t, path+".position"); got != tt.position {
			t.Errorf("the position is %q, want %q", got, tt.position)
		}
	}
}

func TestFileThatEndsAfterNGoesOnThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	runInto(t, path, "@0\n"+batchOf(0, "a", "b", "c"), "-follow", "-n", "2")
	if got := read(t, path); got != "a\nb\n" {
		t.Errorf("the file has %q", got)
	}
	if got := runInto(t, path, "@0\n"+batchOf(2, "c"), "-follow", "-n", "1"); got != "orders?format=batch&from=0%3A2&n=1&follow\n" {
		t.Errorf("request %q", got)
	}
	if got := read(t, path); got != "a\nb\nc\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestFileGoesOnBehindAGapOnceItHasBeenSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	for _, line := range []string{"-GAP first=120 partition=3", "-DAMAGED orders/3: offsets 120 to 129 can't be read"} {
		b := listen(t)
		p, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
		b.serve("@0\n" + batchOf(0, "a") + line + "\n")
		b.accept()
		if b.request != "orders?format=batch&from=0%3A1%2C3%3A120&follow\n" && b.request != "orders?format=batch&from=0%3A1%2C3%3A130&follow\n" {
			t.Errorf("request %q", b.request)
		}
		p.signal(t, syscall.SIGTERM)
		p.check(t, 0, "consumer: the broker answered "+line+"; going on behind that\n")
	}
	if got := runInto(t, path, ".\n"); got != "orders?format=batch&from=0%3A1%2C3%3A130\n" {
		t.Errorf("request %q", got)
	}
}

// What a crash leaves at each step of a commit.
func TestFileAfterACrash(t *testing.T) {
	before := positionOf(2, map[int]int64{0: 1})
	for name, leave := range map[string]func(path string){
		"a part of a message written":    func(path string) { write(t, path, "a\nsecond ord") },
		"messages written":               func(path string) { write(t, path, "a\nsecond order\nthird\n") },
		"a part of the position written": func(path string) { write(t, path+".position.tmp", before[:20]) },
		"a position written, not renamed": func(path string) {
			write(t, path, "a\nb\n")
			write(t, path+".position.tmp", positionOf(4, map[int]int64{0: 2}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.txt")
			write(t, path, "a\n")
			write(t, path+".position", before)
			leave(path)
			if got := runInto(t, path, "@0\n"+batchOf(1, "b")+".\n"); got != "orders?format=batch&from=0%3A1\n" {
				t.Errorf("request %q", got)
			}
			if got := read(t, path); got != "a\nb\n" {
				t.Errorf("the file has %q", got)
			}
			if got := positionIn(t, path+".position"); got != positionOf(4, map[int]int64{0: 2}) {
				t.Errorf("the position is %q", got)
			}
		})
	}
}

func TestFilesThatCannotBeGoneOnWithAreLeftAsTheyAre(t *testing.T) {
	other := (&position{topic: "sales", size: 2}).encode()
	for _, tt := range []struct{ name, file, position, want string }{
		{"no position", "a\n", "", ` has 2 bytes but no `},
		{"shorter than its position says", "a\n", positionOf(3, nil), ` has 2 bytes, and had 3 when its position was written: `},
		{"a damaged position", "a\n", positionOf(2, nil)[1:], ` is damaged, or not a position of this program: `},
		{"an empty position", "a\n", "\n", ` is damaged, or not a position of this program: `},
		{"another topic's", "a\n", other, ` holds messages of topic "sales", not of "orders": name another file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.txt")
			write(t, path, tt.file)
			if tt.position != "" {
				write(t, path+".position", tt.position)
			}
			p := command(t, "-topic", "orders", "-out", path)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			if code := p.finish(); code != 1 || !strings.Contains(p.stderr.String(), tt.want) {
				t.Errorf("exit %d, said %q", code, p.stderr.String())
			}
			if got := read(t, path); got != tt.file {
				t.Errorf("the file has become %q", got)
			}
		})
	}
}

func TestFileHasOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	b := listen(t)
	first, _ := start(t, b, "-out", path, "-follow")
	b.accept()
	second := command(t, "-topic", "orders", "-out", path)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if code := second.finish(); code != 1 || !strings.Contains(second.stderr.String(), "is written by another consumer") {
		t.Errorf("exit %d, said %q", code, second.stderr.String())
	}
	first.signal(t, syscall.SIGTERM)
	first.check(t, 0, "")
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir()} {
		p := command(t, "-topic", "orders", "-out", path)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if code := p.finish(); code != 1 || p.stderr.Len() == 0 {
			t.Errorf("%s: exit %d, said %q", path, code, p.stderr.String())
		}
	}
}

func TestFileThatFollowsIsCommittedWhenNothingMoreComes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	b := listen(t)
	p, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a", "b"))
	want := positionOf(4, map[int]int64{0: 2})
	await(t, func() bool { return positionIn(t, path+".position") == want })
	if got := read(t, path); got != "a\nb\n" {
		t.Errorf("the file has %q", got)
	}
	p.signal(t, syscall.SIGKILL)
	_ = p.Wait()
}
