// Command admin asks an mbus broker about its topics and groups, sets a group's
// position, creates and deletes topics, deletes groups, and gives topics more
// partitions. It sends one administration request of PROTOCOL.md and prints the
// answer, which is the broker's, in columns. It also changes users, over HTTP, and
// makes certificates for development.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"mbus/internal/client"
	"mbus/internal/flags"
)

const usage = `
Usage: admin topics [-topic TOPIC] [-all]
       admin groups [-group GROUP] [-topic TOPIC]
       admin reset -group GROUP -topic TOPIC -to POSITION [-execute]
       admin delete -topic TOPIC [-execute]
       admin delete -group GROUP [-execute]
       admin create -topic TOPIC [-partitions NUMBER] [-retention AGE]
                    [-retention-unread AGE] [-retention-bytes SIZE] [-execute]
       admin grow -topic TOPIC -partitions NUMBER [-execute]

       admin users
       admin user add NAME [-password-file FILE | -generate]
       admin user password NAME [-password-file FILE | -generate]
       admin user show NAME
       admin user delete NAME [-execute]
       admin grant NAME OPERATIONS [TOPICS] [-group GROUPS]
       admin revoke NAME OPERATIONS [TOPICS] [-group GROUPS]
       admin token add NAME [-expires TIME]
       admin token remove NAME ID
       admin cert -self-signed [-hosts NAMES] [-out DIRECTORY]

       admin new-key > FILE
       admin nodes
       admin health [-wait TIME]
       admin remove -node NUMBER [-execute]

Lists topics, or groups with their positions; sets a group's position in each
partition of a topic; deletes a topic or a group; creates a topic; gives a topic
more partitions. Without -execute, reset, delete, create and grow only show what
they would do, and refuse what can't be done.

With the first user everything is denied that no user is granted. user add and
user password ask for the password on a terminal, or take it from MBUS_PASSWORD
or a file. OPERATIONS are publish, consume, admin and describe, with commas
between, or all. TOPICS and GROUPS are names, or beginnings of names with a * at
the end: 'orders*'. Where the broker is on this machine, the operator token in
its data directory logs in. cert makes a certificate for development.

The last commands are about a cluster: new-key makes its key. health exits
with 0 if a node owns the topics and all nodes are up and current, else with 1.
remove removes a node that is gone for good.

POSITION is beginning, end, an offset, -10 (the last ten of each partition), 2h
or 7d (as long ago), or a time such as 2026-11-22, 2026-11-22 10:00 (local time)
or 2026-11-22T10:00:00Z.

admin COMMAND -h shows the flags.

Exit codes: 0 done, 1 error, 2 wrong usage.`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if name, v, words, rest := findVerb(args); v != nil {
		return runVerb(name, v, words, rest)
	}
	c, code, ok := parse(args)
	if !ok {
		return code
	}
	if c.done == "" { // what is to be done is done without an output, too
		if err := flags.CheckOutput(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "admin:", err)
			return 1
		}
	}
	if err := ask(c, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "admin:", err)
		return 1
	}
	return 0
}

// parse reads the command's name and its flags, of which some may come first.
func parse(args []string) (c *command, code int, ok bool) {
	top := flags.New("admin", usage)
	top.Group("Something else", "version")
	if len(args) == 2 && args[0] == "help" {
		args = []string{args[1], "-h"}
	}
	i := commandIndex(args)
	words, _ := split(args)
	switch {
	case len(words) > 1 && commands[words[0]] != nil && isNounAndDeed(words[0], words[1]):
		return nil, top.Fail("%s", unknownCommand(words)), false
	case i < len(args) && commands[args[i]] != nil:
		return parseCommand(args[i], commands[args[i]], slices.Concat(args[:i], args[i+1:]))
	case i < len(args) && args[i] != "help" && args[i] != "version":
		return nil, top.Fail("%s", unknownCommand(words)), false
	case len(args) > 0:
		if code, ok := top.Parse(args); !ok { // -h, -version, or wrong
			return nil, code, false
		}
	}
	return nil, top.Fail("a command is missing: there are\n%s", allNames()), false
}

// unknownCommand says what may have been meant, or what there is. Its lines fit 80 columns.
func unknownCommand(words []string) string {
	typed := strings.Join(words[:min(len(words), 2)], " ")
	if like := near(words); like != "" {
		return fmt.Sprintf("unknown command %q\ntry: %s", typed, strings.ReplaceAll(like, ", ", "\n     "))
	}
	return fmt.Sprintf("unknown command %q: there are\n%s", words[0], allNames())
}

// names are the commands in the order of the usage.
var names = []string{"topics", "groups", "reset", "delete", "create", "grow"}

// allNames are these and those of verbs, for people.
func allNames() string {
	sorted := slices.Sorted(maps.Keys(verbs))
	text, width := strings.Join(names, ", ")+",\n", 0
	for i, name := range sorted {
		switch {
		case i == len(sorted)-1:
			name = "and " + name
		case i < len(sorted)-2:
			name += ","
		}
		if width += len(name) + 1; width > 70 {
			text, width = strings.TrimSuffix(text, " ")+"\n", len(name)+1
		}
		text += name + " "
	}
	return strings.TrimSuffix(text, " ")
}

// commandIndex is where the command stands: behind the flags before it and their
// values. It is the number of arguments if there is none.
func commandIndex(args []string) int {
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "-")
		if !isFlag || name == "" {
			return i
		}
		if takesValue(strings.TrimPrefix(name, "-")) {
			i++
		}
	}
	return len(args)
}

// takesValue says that the argument behind a flag belongs to it.
func takesValue(flag string) bool {
	return !strings.Contains(flag, "=") && !slices.Contains([]string{"json", "execute", "all", "tls", "generate", "self-signed", "h", "help", "version", ""}, flag)
}

// ask sends the request and prints what is answered: the table on out, what the
// broker has to say to people besides on notes.
func ask(c *command, out, notes io.Writer) error {
	var answer []string
	ways, why := logIns(c.broker, c.data)
	err := tryLogIns(ways, why, func(b client.Broker) (err error) {
		answer, err = client.Ask(b, c.line, c.timeout)
		return err
	})
	switch {
	case errors.Is(err, client.ErrLost) && c.done != "":
		return fmt.Errorf("%w; what was asked for may be done, or be done later", err)
	case err != nil:
		return err
	}
	if len(answer) == 0 && !c.asJSON { // not even the names of columns
		return errors.New("connection lost: the broker closed it without an answer")
	}
	return c.printAnswer(answer, out, notes)
}
