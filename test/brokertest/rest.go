package brokertest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// AwaitRest waits until a process has nothing more to do: all its threads sleep, as
// /proc/PID/task/TID/stat says, several times in a row. A signal that was sent before
// has been noticed then.
func AwaitRest(t testing.TB, pid int) {
	t.Helper()
	sleeping := 0
	Await(t, patience, fmt.Sprintf("process %d rests", pid), func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		sleeping++
		if !allSleep(threads) {
			sleeping = 0
		}
		return sleeping >= 5
	})
}

// allSleep reads the state of each thread, the field behind the name in parentheses.
func allSleep(stats []string) bool {
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if _, behind, _ := bytes.Cut(stat, []byte(") ")); !bytes.HasPrefix(behind, []byte("S")) {
			return false
		}
	}
	return true
}
