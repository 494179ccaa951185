package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// Words that are no command lead to the right one.
func TestNearMissesNameTheCommand(t *testing.T) {
	for typed, want := range map[string]string{
		"user list": "admin users", "users list": "admin users", "list users": "admin users", "usres": "admin users", "ls users": "admin users",
		"user create alice": "admin user add NAME", "add user alice": "admin user add NAME", "create user alice": "admin user add NAME",
		"user ad alice": "admin user add", "user remove alice": "admin user delete NAME", "delete user alice": "admin user delete NAME",
		"user passwd alice": "admin user password NAME", "passwd alice": "admin user password NAME", "user show": "admin user show NAME",
		"users add alice": "admin user add NAME", "users alice": "admin user show NAME", "user grant alice": "admin grant NAME OPERATIONS TOPICS",
		"token list": "admin user show NAME", "token revoke alice 1": "admin token remove NAME ID", "token": "admin token add NAME",
		"topic": "admin topics", "topics list": "admin topics", "list": "admin topics", "create topic orders": "admin create -topic TOPIC",
		"group": "admin groups", "delete group g": "admin delete -group GROUP", "acl": "admin grant NAME OPERATIONS TOPICS", "certs": "admin cert -self-signed",
		"node": "admin nodes", "node list": "admin nodes", "remove node 3": "admin remove -node NUMBER", "cluster": "admin health", "new key": "admin new-key",
		"remove topic orders": "admin delete -topic TOPIC", "remove user alice": "admin user delete NAME",
		"user show -json": "admin users lists the users", "user": "admin users", "fly": "there are\ntopics, groups,", "": "there are\ntopics, groups,",
	} {
		_, said, code := admin(t, strings.Fields(typed)...)
		if code != 2 || !strings.Contains(said, want) {
			t.Errorf("%s: %d, %q", typed, code, said)
		}
		for line := range strings.Lines(said) {
			if len(line) > 81 {
				t.Errorf("%s: more than 80 columns: %q", typed, line)
			}
		}
	}
}

// What is proposed exists.
func TestProposedCommandsExist(t *testing.T) {
	for noun, of := range meant {
		for _, list := range slices.Collect(maps.Values(of)) {
			for command := range strings.SplitSeq(list, ", ") {
				words, _ := split(strings.Fields(command))
				if _, v, _, _ := findVerb(words); v == nil && commands[words[0]] == nil {
					t.Errorf("%s: %q is no command", noun, command)
				}
			}
		}
	}
}
