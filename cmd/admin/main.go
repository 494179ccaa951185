// Command admin asks an mbus broker about its topics and groups, sets a group's
// position, creates and deletes topics, deletes groups, and gives topics more
// partitions. It sends one administration request of PROTOCOL.md and prints the
// answer, which is the broker's, in columns.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mbus/internal/consumer"
	"mbus/internal/flags"
)

const usage = `
Usage: admin topics [-topic TOPIC]
       admin groups [-group GROUP] [-topic TOPIC]
       admin reset -group GROUP -topic TOPIC -to POSITION [-execute]
       admin delete -topic TOPIC [-execute]
       admin delete -group GROUP [-execute]
       admin create -topic TOPIC [-partitions NUMBER] [-retention AGE]
                    [-retention-unread AGE] [-retention-bytes SIZE] [-execute]
       admin grow -topic TOPIC -partitions NUMBER [-execute]

Lists topics, or groups with their positions; sets a group's position in each
partition of a topic; deletes a topic or a group; creates a topic; gives a topic
more partitions. Without -execute, reset, delete, create and grow only show what
they would do.

POSITION is beginning, end, an offset, -10 (the last ten of each partition), 2h
or 7d (as long ago), or a time such as 2026-11-22, 2026-11-22 10:00 (local time)
or 2026-11-22T10:00:00Z.

admin COMMAND -h shows the flags.

Exit codes: 0 done, 1 error, 2 wrong usage.`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	c, code, ok := parse(args)
	if !ok {
		return code
	}
	if err := ask(c, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "admin:", err)
		return 1
	}
	return 0
}

// parse reads the command's name and its flags.
func parse(args []string) (c *command, code int, ok bool) {
	top := flags.New("admin", usage)
	if len(args) == 0 {
		return nil, top.Fail("a command is missing: topics, groups, reset, delete, create or grow"), false
	}
	d := commands[args[0]]
	switch {
	case d == nil && strings.HasPrefix(args[0], "-"): // -h, -version, or wrong
		if code, ok := top.Parse(args); !ok {
			return nil, code, false
		}
		return nil, top.Fail("the command comes first: topics, groups, reset, delete, create or grow"), false
	case d == nil:
		return nil, top.Fail("unknown command %q: there are topics, groups, reset, delete, create and grow", args[0]), false
	}
	return parseCommand(args[0], d, args[1:])
}

// ask sends the request and prints what is answered: the table on out, what the
// broker has to say to people besides on notes.
func ask(c *command, out, notes io.Writer) error {
	answer, err := consumer.Ask(c.addr, c.line)
	if err != nil {
		return err
	}
	if len(answer) == 0 && !c.asJSON { // not even the names of columns
		return errors.New("connection lost: the broker closed it without an answer")
	}
	return printAnswer(answer, c.asJSON, out, notes)
}
