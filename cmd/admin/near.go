package main

import (
	"maps"
	"slices"
	"strings"
)

// nouns are what a command may be about, by the words that people try.
var nouns = map[string]string{
	"user": "user", "users": "user", "token": "token", "tokens": "token", "topic": "topic", "topics": "topic", "group": "group", "groups": "group",
	"permission": "permission", "permissions": "permission", "acl": "permission", "acls": "permission", "certificate": "cert", "certs": "cert",
	"key": "key", "keys": "key", "node": "node", "nodes": "node", "cluster": "node",
}

// deeds are what is to be done, likewise.
var deeds = map[string]string{
	"list": "list", "ls": "list", "show": "show", "describe": "show", "get": "show",
	"add": "add", "create": "add", "new": "add", "make": "add",
	"delete": "delete", "remove": "delete", "rm": "delete", "del": "delete",
	"password": "password", "passwd": "password", "pass": "password", "grant": "grant", "revoke": "revoke",
}

// meant are the commands for a deed, by noun; "" is no noun, or no deed.
var meant = map[string]map[string]string{
	"user": {
		"": "user add NAME, user password NAME, user show NAME, user delete NAME, users", "list": "users", "show": "user show NAME", "add": "user add NAME",
		"delete": "user delete NAME", "password": "user password NAME", "grant": "grant NAME OPERATIONS TOPICS", "revoke": "revoke NAME OPERATIONS TOPICS",
	},
	"token":      {"": "token add NAME, token remove NAME ID", "list": "user show NAME", "show": "user show NAME", "add": "token add NAME", "delete": "token remove NAME ID", "revoke": "token remove NAME ID"},
	"topic":      {"": "topics", "list": "topics", "show": "topics -topic TOPIC", "add": "create -topic TOPIC", "delete": "delete -topic TOPIC"},
	"group":      {"": "groups", "list": "groups", "show": "groups -group GROUP", "delete": "delete -group GROUP"},
	"permission": {"": "grant NAME OPERATIONS TOPICS, revoke NAME OPERATIONS TOPICS, user show NAME", "list": "user show NAME", "show": "user show NAME", "add": "grant NAME OPERATIONS TOPICS", "delete": "revoke NAME OPERATIONS TOPICS"},
	"cert":       {"": "cert -self-signed"},
	"key":        {"": "new-key"},
	"node":       {"": "nodes, health, remove -node NUMBER", "list": "nodes", "show": "nodes", "delete": "remove -node NUMBER"},
	"":           {"list": "topics, groups, users", "show": "topics -topic TOPIC, groups -group GROUP, user show NAME", "add": "create -topic TOPIC, user add NAME, token add NAME", "delete": "delete -topic TOPIC, delete -group GROUP, user delete NAME, token remove NAME ID", "password": "user password NAME"},
}

// near are the commands that may have been meant by words that are none; "" if none is like them.
func near(words []string) string {
	noun, deed := "", ""
	for _, word := range words[:min(len(words), 2)] {
		word = strings.ToLower(word)
		switch {
		case noun == "" && nouns[word] != "":
			noun = nouns[word]
		case deed == "" && deeds[word] != "":
			deed = deeds[word]
		}
	}
	if found := meant[noun][deed]; found != "" {
		return asCommands(found)
	}
	if found := meant[noun][""]; found != "" {
		return asCommands(found)
	}
	var like []string
	for _, name := range slices.Concat(names, slices.Sorted(maps.Keys(verbs))) {
		typed := strings.Join(words[:min(len(words), strings.Count(name, " ")+1)], " ")
		if distance(typed, name) <= min(2, (len(name)-1)/2) {
			like = append(like, name)
		}
	}
	return asCommands(strings.Join(like, ", "))
}

// isNounAndDeed reports whether two words are a noun and a deed, in any order.
func isNounAndDeed(a, b string) bool {
	return nouns[a] != "" && deeds[b] != "" || deeds[a] != "" && nouns[b] != ""
}

func asCommands(list string) string {
	if list == "" {
		return ""
	}
	return "admin " + strings.ReplaceAll(list, ", ", ", admin ")
}

// distance is the number of letters to be added, left out or replaced (Levenshtein), where two that are exchanged count
// as two.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
