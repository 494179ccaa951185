package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"mbus/internal/flags"
)

// A verb is a command about users, certificates or a cluster. Its arguments are words; the broker is asked over HTTP.
type verb struct {
	words []string // what stands behind the command; words in brackets may be missing
	flags []string // its own
	local bool     // no broker is asked
	run   func(*call) error
}

var verbs = map[string]*verb{
	"user add":      {words: []string{"NAME"}, flags: []string{"generate"}, run: (*call).addUser},
	"user password": {words: []string{"NAME"}, flags: []string{"generate"}, run: (*call).setPassword},
	"user delete":   {words: []string{"NAME"}, flags: []string{"execute"}, run: (*call).deleteUser},
	"user show":     {words: []string{"NAME"}, flags: []string{"json"}, run: (*call).showUser},
	"users":         {flags: []string{"json"}, run: (*call).listUsers},
	"grant":         {words: []string{"NAME", "OPERATIONS", "[TOPICS]"}, flags: []string{"group"}, run: (*call).grant},
	"revoke":        {words: []string{"NAME", "OPERATIONS", "[TOPICS]"}, flags: []string{"group"}, run: (*call).revoke},
	"token add":     {words: []string{"NAME"}, flags: []string{"expires"}, run: (*call).addToken},
	"token remove":  {words: []string{"NAME", "ID"}, run: (*call).removeToken},
	"cert":          {flags: []string{"self-signed", "hosts", "out"}, local: true, run: (*call).makeCertificate},
	"new-key":       {local: true, run: (*call).newKey},
	"nodes":         {flags: []string{"json"}, run: (*call).listNodes},
	"health":        {flags: []string{"wait"}, run: (*call).checkHealth},
	"remove":        {flags: []string{"node", "execute"}, run: (*call).removeNode},
}

// A call is a verb with its arguments.
type call struct {
	words      []string
	groups     []string // of -group
	expires    time.Duration
	hosts      []string
	dir        string
	node       int
	wait       time.Duration
	selfSigned bool
	generate   bool
	execute    bool
	asJSON     bool

	password   string // of the environment or a file, for a user to be changed; "" for none
	api        api
	out, notes io.Writer
}

// A usageError is about the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// findVerb finds the command among arguments, and takes its words out. It is nil if there is none.
func findVerb(args []string) (name string, v *verb, words, rest []string) {
	words, rest = split(args)
	for n := 1; n <= min(2, len(words)); n++ {
		name = strings.Join(words[:n], " ")
		isMiss := n == 1 && len(words) > 1 && isNounAndDeed(words[0], words[1]) // such as remove topic
		if v := verbs[name]; v != nil && !isMiss {
			return name, v, words[n:], rest
		}
	}
	return "", nil, nil, nil
}

// split takes the words out of arguments: those that belong to no flag, and all behind "--".
func split(args []string) (words, rest []string) {
	for len(args) > 0 {
		i := commandIndex(args)
		rest = append(rest, args[:min(i, len(args))]...)
		if i >= len(args) {
			break
		}
		words, args = append(words, args[i]), args[i+1:]
	}
	if i := slices.Index(rest, "--"); i >= 0 {
		words, rest = append(words, rest[i+1:]...), rest[:i]
	}
	return words, rest
}

// runVerb is the program for a verb.
func runVerb(name string, v *verb, words, args []string) int {
	c := &call{words: words, out: os.Stdout, notes: os.Stderr}
	s := flags.New("admin "+name, usage)
	c.define(s, v)
	where, code, ok := c.parse(s, v, args)
	if !ok {
		return code
	}
	err := flags.CheckOutput(os.Stdout)
	if err == nil && !v.local {
		c.api, err = where.api(s)
	}
	if err == nil {
		err = v.run(c)
	}
	var wrong *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return s.Fail("%v", wrong)
	}
	fmt.Fprintln(os.Stderr, "admin:", err)
	return 1
}

// lists says how users are listed, and how one is shown.
func lists(v *verb) string {
	switch {
	case len(v.words) == 1:
		return "\nadmin users lists the users"
	case len(v.words) == 0 && !v.local:
		return "\ntry: " + strings.ReplaceAll(asCommands(meant["user"][""]), ", ", "\n     ")
	}
	return ""
}

// define makes the flags.
func (c *call) define(s *flags.Set, v *verb) {
	for _, name := range v.flags {
		switch name {
		case "generate":
			s.BoolVar(&c.generate, name, false, "make a password that nobody can guess, and print it")
		case "execute":
			s.BoolVar(&c.execute, name, false, "do it: without this flag it is only shown")
		case "json":
			s.BoolVar(&c.asJSON, name, false, "print a JSON object a line")
		case "group":
			s.Func(name, "`GROUP`: a group, or the beginning of groups' names and a *; the flag may be there several times", c.addGroup)
		case "expires":
			s.DurationVar(&c.expires, name, 0, "`TIME`: when the token expires, such as 90d (default never)")
		case "self-signed":
			s.BoolVar(&c.selfSigned, name, false, "have an authority of its own sign the certificate, for development and closed networks")
		case "hosts":
			s.Func(name, "`NAMES`: the names and addresses by which clients reach the broker, with commas between; localhost needs no mention", c.setHosts)
		case "out":
			s.StringVar(&c.dir, name, ".", "`DIRECTORY`: where the files are written; it is created if it does not exist")
		case "node":
			s.IntVar(&c.node, name, -1, "`NUMBER`: the node that is gone for good; its replicas are made again on other nodes")
		case "wait":
			s.DurationVar(&c.wait, name, 0, "`TIME`: how long it may take until all is well")
		}
	}
	s.Acts(v.flags...)
	s.Group("How", v.flags...)
}

func (c *call) addGroup(pattern string) error {
	if pattern == "" {
		return fmt.Errorf("it is empty: leave the flag out, or give it a value")
	}
	c.groups = append(c.groups, pattern)
	return nil
}

// parse reads the flags, and checks the number of words. If ok is false the program ends with the exit code.
func (c *call) parse(s *flags.Set, v *verb, args []string) (where *place, code int, ok bool) {
	where = &place{portFlag: "hport"}
	if !v.local {
		where.define(s, 9992, "HTTP clients")
		where.group(s)
	}
	s.Group("Something else", "version")
	if code, ok := s.Parse(args); !ok {
		return nil, code, false
	}
	needed := slices.DeleteFunc(slices.Clone(v.words), func(word string) bool { return word[0] == '[' })
	switch {
	case len(c.words) < len(needed):
		return nil, s.Fail("%s is missing: %s %s%s", needed[len(c.words)], s.Name(), strings.Join(v.words, " "), lists(v)), false
	case len(c.words) > len(v.words):
		return nil, s.Fail("unexpected argument %q: %s%s", c.words[len(v.words)], strings.Join(append([]string{s.Name()}, v.words...), " "), lists(v)), false
	}
	if slices.Contains(v.flags, "generate") {
		var err error
		if c.password, err = where.in.NewPassword(s); err != nil {
			return nil, s.Fail("%v", err), false
		}
	}
	return where, 0, true
}
