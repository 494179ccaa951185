package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mbus/internal/auth"
	"mbus/internal/client"
	"mbus/internal/units"
)

// A user is what the broker shows of one.
type user struct {
	Name        string            `json:"name"`
	Created     time.Time         `json:"created"`
	Mechanisms  []string          `json:"mechanisms"`
	Permissions []auth.Permission `json:"permissions"`
	Tokens      []token           `json:"tokens"`
}

type token struct {
	ID      string     `json:"id"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
}

// path is that of a user, with more behind it.
func (c *call) path(more string) string { return "/users/" + url.PathEscape(c.words[0]) + more }

// checkName checks the user's name before anything is asked.
func (c *call) checkName() error {
	if err := auth.CheckName(c.words[0]); err != nil {
		return &usageError{err.Error()}
	}
	return nil
}

// find asks whether the user exists.
func (c *call) find() (exists bool, err error) {
	if err := c.checkName(); err != nil {
		return false, err
	}
	err = c.api.ask(http.MethodGet, c.path(""), nil, nil)
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

// isUnknown reports whether the broker has no such user.
func isUnknown(err error) bool {
	var answered *client.Error
	return errors.As(err, &answered) && (answered.Code == "NOTFOUND" || answered.Code == "GONE")
}

func explainUnknown(err error) error {
	if isUnknown(err) {
		return fmt.Errorf("%w: admin users lists them, and admin user add makes one", err)
	}
	return err
}

func (c *call) addUser() error {
	exists, err := c.find()
	if err != nil {
		return err
	}
	if exists {
		return fmt.Errorf("user %q exists: admin user password %s sets its password", c.words[0], c.words[0])
	}
	var others struct{ Users []struct{} }
	isFirst := c.api.ask(http.MethodGet, "/users?limit=1", nil, &others) == nil && len(others.Users) == 0
	if err := c.putPassword("user %q is made; admin grant says what it may do\n"); err != nil {
		return err
	}
	if isFirst {
		fmt.Fprintln(c.notes, "admin: it is the first one: clients that do not log in may do nothing from now on")
	}
	return nil
}

func (c *call) setPassword() error {
	exists, err := c.find()
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("unknown user %q: admin users lists them, and admin user add makes one", c.words[0])
	}
	return c.putPassword("the password of user %q is set, and its connections have ended\n")
}

// putPassword makes a user, or sets its password. Only credentials leave this program.
func (c *call) putPassword(done string) error {
	password, isMade, err := c.newPassword()
	if err != nil {
		return err
	}
	credentials, err := auth.NewCredentials(password)
	if err != nil {
		return err
	}
	body := map[string]any{"credentials": credentials}
	if given := c.api.ways[0]; given.User == c.words[0] { // users may replace their own, with the old one
		body["old"] = given.Password
	}
	if err := c.api.ask(http.MethodPut, c.path(""), body, nil); err != nil {
		return err
	}
	fmt.Fprintf(c.notes, "admin: "+done, c.words[0])
	if isMade {
		return c.print(password)
	}
	return nil
}

func (c *call) deleteUser() error {
	if err := c.checkName(); err != nil {
		return err
	}
	path, done := c.path(""), "user %q would be deleted: -execute does it\n"
	if c.execute {
		path, done = c.path("?execute"), "user %q is deleted, and its connections have ended\n"
	}
	if err := c.api.ask(http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(c.notes, "admin: "+done, c.words[0])
	return nil
}

func (c *call) grant() error { return c.change("grant") }

func (c *call) revoke() error { return c.change("revoke") }

// change grants or revokes permissions.
func (c *call) change(verb string) error {
	if err := c.checkName(); err != nil {
		return err
	}
	all, err := c.permissions(verb == "grant")
	if err != nil {
		return &usageError{err.Error()}
	}
	body := map[string][]auth.Permission{"permissions": all}
	if err := c.api.ask(http.MethodPost, c.path("/"+verb), body, nil); err != nil {
		return explainUnknown(err)
	}
	does := map[string]string{"grant": "may", "revoke": "may no longer"}[verb]
	for _, p := range all {
		fmt.Fprintf(c.notes, "admin: %s %s %v %s %s\n", c.words[0], does, p.Operations, p.Kind, readable(p.Pattern))
	}
	return nil
}

// ofGroups are the operations that a permission for groups may have.
const ofGroups = auth.Describe | auth.Consume | auth.Admin

// permissions are those of the words and -group. With addsDefault, consume without -group is for the group that consumers of
// lines have by default, too.
func (c *call) permissions(addsDefault bool) (all []auth.Permission, err error) {
	operations, err := auth.ParseOperations(c.words[1])
	if err != nil {
		return nil, err
	}
	if len(c.words) > 2 {
		for pattern := range strings.SplitSeq(c.words[2], ",") {
			if pattern == "" {
				return nil, fmt.Errorf("topics %q: one of them is empty", c.words[2])
			}
			all = append(all, auth.Permission{Operations: operations, Kind: auth.Topic, Pattern: pattern})
		}
	}
	groups := c.groups
	switch {
	case len(all) == 0 && len(groups) == 0:
		return nil, errors.New("neither TOPICS nor -group is there: 'orders*' is all topics that begin so, '*' is all")
	case len(groups) > 0 && operations&ofGroups == 0:
		return nil, fmt.Errorf("-group is about %v, and nobody can %v a group", ofGroups, operations)
	case len(groups) == 0 && addsDefault && operations&auth.Consume != 0:
		return append(all, auth.Permission{Operations: auth.Consume, Kind: auth.Group, Pattern: defaultGroup}), nil
	}
	for _, pattern := range groups {
		all = append(all, auth.Permission{Operations: operations & ofGroups, Kind: auth.Group, Pattern: pattern})
	}
	return all, nil
}

// defaultGroup is that of consumers of lines that name none.
const defaultGroup = "default"

func (c *call) addToken() error {
	if err := c.checkName(); err != nil {
		return err
	}
	body := map[string]string{}
	if c.expires > 0 {
		body["expires"] = units.FormatDuration(c.expires)
	}
	var made struct {
		Token, ID string
		Expires   *time.Time
	}
	if err := c.api.ask(http.MethodPost, c.path("/tokens"), body, &made); err != nil {
		return explainUnknown(err)
	}
	fmt.Fprintf(c.notes, "admin: token %s of user %q, which %s; nobody can see it again\n", readable(made.ID), c.words[0], expiry(made.Expires))
	return c.print(made.Token)
}

func (c *call) removeToken() error {
	if err := c.checkName(); err != nil {
		return err
	}
	if err := c.api.ask(http.MethodDelete, c.path("/tokens/"+url.PathEscape(c.words[1])), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(c.notes, "admin: token %s of user %q is removed\n", readable(c.words[1]), c.words[0])
	return nil
}

func expiry(at *time.Time) string {
	if at == nil {
		return "never expires"
	}
	return "expires at " + at.Local().Format(time.DateTime)
}

func (c *call) showUser() error {
	if err := c.checkName(); err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.api.ask(http.MethodGet, c.path(""), nil, &raw); err != nil {
		return explainUnknown(err)
	}
	if c.asJSON {
		return c.printJSON(raw)
	}
	var u user
	if err := json.Unmarshal(raw, &u); err != nil {
		return err
	}
	lines := []string{"user\t" + readable(u.Name), "created\t" + u.Created.Local().Format(time.DateTime)}
	password := "none"
	if len(u.Mechanisms) > 0 {
		password = strings.Join(u.Mechanisms, ", ")
	}
	lines = append(lines, "password\t"+password)
	for _, p := range u.Permissions {
		lines = append(lines, "may\t"+describe(p))
	}
	for _, t := range u.Tokens {
		lines = append(lines, fmt.Sprintf("token\t%s, %s", readable(t.ID), expiry(t.Expires)))
	}
	return c.printTable(lines)
}

func describe(p auth.Permission) string {
	return fmt.Sprintf("%v %s %s", p.Operations, p.Kind, readable(p.Pattern))
}

func (c *call) listUsers() error {
	var all struct{ Users []json.RawMessage }
	if err := c.api.ask(http.MethodGet, "/users", nil, &all); err != nil {
		return err
	}
	lines := []string{"user\ttokens\tcreated\tmay"}
	for _, raw := range all.Users {
		if c.asJSON {
			if err := c.printJSON(raw); err != nil {
				return err
			}
			continue
		}
		var u user
		if err := json.Unmarshal(raw, &u); err != nil {
			return err
		}
		lines = append(lines, row(&u))
	}
	if c.asJSON {
		return nil
	}
	if len(all.Users) == 0 {
		fmt.Fprintln(c.notes, "admin: there are no users: everybody that reaches the broker may do everything")
	}
	return c.printTable(fit(lines))
}

func row(u *user) string {
	var may []string
	for _, p := range u.Permissions {
		may = append(may, describe(p))
	}
	return strings.Join([]string{readable(u.Name), strconv.Itoa(len(u.Tokens)), u.Created.Local().Format(time.DateOnly), strings.Join(may, "; ")}, "\t")
}

// Columns of a terminal, and those that the last field of a table has at least.
const (
	tableWidth  = 80
	minLastCell = 20
)

// fit cuts the last field of each line, so that the table is as wide as a terminal.
func fit(lines []string) []string {
	widths := make([]int, strings.Count(lines[0], "\t"))
	for _, line := range lines {
		for i, field := range strings.Split(line, "\t")[:len(widths)] {
			widths[i] = max(widths[i], utf8.RuneCountInString(field)+len("  "))
		}
	}
	space := tableWidth
	for _, width := range widths {
		space -= width
	}
	fitting := slices.Clone(lines)
	for i, line := range lines {
		at := strings.LastIndexByte(line, '\t') + 1
		if last := []rune(line[at:]); len(last) > max(space, minLastCell) {
			fitting[i] = line[:at] + string(last[:max(space, minLastCell)-len("...")]) + "..."
		}
	}
	return fitting
}

func (c *call) printTable(lines []string) error {
	buffered := bufio.NewWriter(c.out)
	printColumns(buffered, lines)
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

func (c *call) printJSON(raw json.RawMessage) error {
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return err
	}
	return c.print(line.String())
}

func (c *call) print(line string) error {
	if _, err := fmt.Fprintln(c.out, line); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// readable is a text from outside as a terminal may get it.
func readable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(text)
	}
	return text
}
