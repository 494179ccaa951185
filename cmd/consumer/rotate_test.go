package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// rename moves a file.
func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// What others do to a file while the consumer follows, with two messages in it, and what
// is in it and in the one beside it after a third.
func TestFileIsRotatedWhileItFollows(t *testing.T) {
	for _, tt := range []struct {
		name             string
		rotate           func(t *testing.T, path string)
		want, beside, is string
	}{
		{"moved", func(t *testing.T, path string) { rename(t, path, path+".1") }, "c\n", "a\nb\n", "moved"},
		{"moved, and a new one made", func(t *testing.T, path string) {
			rename(t, path, path+".1")
			write(t, path, "")
		}, "c\n", "a\nb\n", "moved"},
		{"copied and cut to nothing", func(t *testing.T, path string) {
			write(t, path+".1", read(t, path))
			write(t, path, "")
		}, "c\n", "a\nb\n", "emptied"},
		{"removed", remove, "c\n", "", "removed"},
		{"removed, and a new one made", func(t *testing.T, path string) {
			remove(t, path)
			write(t, path, "")
		}, "c\n", "", "removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.txt")
			b := listen(t)
			p, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
			conn := b.accept()
			send(t, conn, "@0\n"+batchOf(0, "a", "b"))
			await(t, func() bool { return positionIn(t, path+".position") == positionOf(4, map[int]int64{0: 2}) })
			tt.rotate(t, path)
			send(t, conn, batchOf(2, "c"))
			await(t, func() bool { return positionIn(t, path+".position") == positionOf(2, map[int]int64{0: 3}) })
			p.signal(t, syscall.SIGTERM)
			p.check(t, 0, "consumer: \""+path+"\" was "+tt.is+map[bool]string{true: ": it goes on where it was\n", false: ": a new one goes on where it was\n"}[tt.is == "emptied"])
			if got := read(t, path); got != tt.want {
				t.Errorf("the file has %q, want %q", got, tt.want)
			}
			if tt.beside != "" && read(t, path+".1") != tt.beside {
				t.Errorf("the file before it has %q", read(t, path+".1"))
			}
			if got := runInto(t, path, "@0\n"+batchOf(3, "d")+".\n"); got != "orders?format=batch&from=0%3A3\n" {
				t.Errorf("then the request is %q", got)
			}
			if got := read(t, path); got != tt.want+"d\n" {
				t.Errorf("then the file has %q", got)
			}
		})
	}
}

func TestHangupBeginsTheNewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	b := listen(t)
	p, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a"))
	await(t, func() bool { return positionIn(t, path+".position") == positionOf(2, map[int]int64{0: 1}) })
	rename(t, path, path+".1")
	p.signal(t, syscall.SIGHUP)
	await(t, func() bool { _, err := os.Stat(path); return err == nil })
	p.signal(t, syscall.SIGTERM)
	p.check(t, 0, "consumer: \""+path+"\" was moved: a new one goes on where it was\n")
}

// What is done to a file between two runs. The consumer was killed: behind its position
// is a message that comes again.
func TestFileIsRotatedBetweenTwoRuns(t *testing.T) {
	for name, rotate := range map[string]func(t *testing.T, path string){
		"moved": func(t *testing.T, path string) { rename(t, path, path+"-20261129") },
		"moved to any name, and a new one made": func(t *testing.T, path string) {
			rename(t, path, filepath.Join(filepath.Dir(path), "old"))
			write(t, path, "")
		},
		"cut to nothing": func(t *testing.T, path string) { write(t, path, "") },
		"removed":        remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "orders.txt")
			runInto(t, path, "@0\n"+batchOf(0, "a")+".\n")
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("b\n"); err != nil {
				t.Fatal(err)
			}
			f.Close()
			rotate(t, path)
			b := listen(t)
			p, _ := start(t, b, "-out", path, "-f", `%s\n`)
			b.serve("@0\n" + batchOf(1, "b") + ".\n")
			p.check(t, 0, "consumer: \""+path+"\" is new, or was emptied: it goes on where the one before it ends; without \""+
				path+".position\" it begins anew\n")
			if b.request != "orders?format=batch&from=0%3A1\n" || read(t, path) != "b\n" {
				t.Errorf("the request was %q, the file has %q", b.request, read(t, path))
			}
			for _, old := range []string{path + "-20261129", filepath.Join(dir, "old")} {
				if _, err := os.Stat(old); err == nil && read(t, old) != "a\n" {
					t.Errorf("%s has %q", old, read(t, old))
				}
			}
		})
	}
}

// What is done to a file after which it can't be said what it holds.
func TestFileThatOthersChangeIsNotGoneOnWith(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path string)
		want   string
	}{
		{"appended to", func(t *testing.T, path string) { write(t, path, "a\nb\nx\n") }, "another one writes to it, too"},
		{"cut in the middle", func(t *testing.T, path string) { write(t, path, "a\n") }, "was cut to 2: only a file that is cut to nothing"},
		{"replaced", func(t *testing.T, path string) {
			rename(t, path, path+".1")
			write(t, path, "x\n")
		}, "has 2 bytes that this program has not written: move it away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.txt")
			b := listen(t)
			p, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
			conn := b.accept()
			send(t, conn, "@0\n"+batchOf(0, "a", "b"))
			await(t, func() bool { return positionIn(t, path+".position") == positionOf(4, map[int]int64{0: 2}) })
			tt.change(t, path)
			changed := read(t, path)
			send(t, conn, batchOf(2, "c"))
			if code := p.finish(); code != 1 || !strings.Contains(p.stderr.String(), tt.want) {
				t.Errorf("exit %d, said %q", code, p.stderr.String())
			}
			if got := read(t, path); got != changed {
				t.Errorf("the file has become %q", got)
			}
		})
	}
}

// A consumer has the file that was moved open, and another one is begun.
func TestMovedFileThatIsStillWrittenIsNotCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	b := listen(t)
	first, _ := start(t, b, "-out", path, "-f", `%s\n`, "-follow")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a"))
	await(t, func() bool { return positionIn(t, path+".position") == positionOf(2, map[int]int64{0: 1}) })
	rename(t, path, path+".1")
	second := command(t, "-topic", "orders", "-out", path)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if code := second.finish(); code != 1 || !strings.Contains(second.stderr.String(), "is written by another consumer") {
		t.Errorf("exit %d, said %q", code, second.stderr.String())
	}
	first.signal(t, syscall.SIGTERM)
	if code := first.finish(); code != 0 {
		t.Errorf("exit %d, said %q", code, first.stderr.String())
	}
}

const (
	oneTopic     = "01234567-89ab-4cde-8f01-23456789abcd"
	anotherTopic = "11234567-89ab-4cde-8f01-23456789abcd"
)

func TestFileIsOfOneTopicNotOfItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	write(t, path, "a\n")
	write(t, path+".position", positionOf(2, map[int]int64{0: 1})) // of a former version
	b := listen(t)
	b.setTopic(oneTopic)
	for _, request := range []string{"orders?format=batch&from=0%3A1&id=" + oneTopic + "\n", "orders?format=batch&from=0%3A2&id=" + oneTopic + "\n"} {
		p, _ := start(t, b, "-out", path, "-f", `%s\n`)
		b.serve("@0\n" + batchOf(1, "b") + ".\n")
		if b.request != request {
			t.Errorf("request %q, want %q", b.request, request)
		}
		p.check(t, 0, "")
	}
	for id, want := range map[string]string{
		anotherTopic: "consumer: topic \"orders\" is not the one with id " + oneTopic,
		"":           "consumer: topic \"orders\" was deleted: ",
	} {
		b.setTopic(id)
		for _, args := range [][]string{nil, {"-follow"}} {
			before := read(t, path)
			p, _ := start(t, b, append(args, "-out", path)...)
			if code := p.finish(); code != 1 || !strings.HasPrefix(p.stderr.String(), want) || !strings.Contains(p.stderr.String(), "away to begin again") {
				t.Fatalf("exit %d, said %q", code, p.stderr.String())
			}
			if read(t, path) != before {
				t.Errorf("the file has become %q", read(t, path))
			}
		}
	}
}

// Before there was a message, any topic of the name will do.
func TestFileWithoutMessagesIsOfNoTopicYet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.txt")
	b := listen(t)
	for _, id := range []string{oneTopic, "", anotherTopic} {
		b.setTopic(id)
		p, _ := start(t, b, "-out", path)
		b.serve(".\n")
		p.finish()
		if p.ProcessState.ExitCode() != 0 {
			t.Errorf("said %q", p.stderr.String())
		}
	}
}

func TestFollowerFromAPlaceNoticesAnotherTopic(t *testing.T) {
	b := listen(t)
	b.setTopic(oneTopic)
	p, out := start(t, b, "-from", "beginning", "-follow", "-f", `%s\n`)
	b.resolve("beginning", 0)
	conn := b.accept()
	if !strings.Contains(b.request, "&id="+oneTopic) {
		t.Errorf("request %q", b.request)
	}
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	b.setTopic(anotherTopic)
	conn.Close()
	if code := p.finish(); code != 1 || !strings.Contains(p.stderr.String(), "is not the one with id "+oneTopic) {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
}
