package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/flags"
	"mbus/internal/units"
)

// mayHaveUsers reports whether the directory may have users, before it is opened.
func (o *options) mayHaveUsers() bool {
	_, err := os.Stat(filepath.Join(o.data, "topics", broker.UsersTopic))
	return !errors.Is(err, os.ErrNotExist)
}

// withoutTLS refuses to listen at an endpoint. It names the commands for users, too, if there are none, so that nobody needs
// a second refusal to learn of them. Lines of text fit 80 columns.
func (o *options) withoutTLS(at *endpoint) error {
	var text strings.Builder
	why := "without TLS: others could read passwords and messages"
	if !o.mayHaveUsers() {
		why = "without TLS and without users: others could do everything"
	}
	fmt.Fprintf(&text, "it does not start, because it would listen on -%s %s\n%s.\n", at.hostFlag, at.host, why)
	fmt.Fprintf(&text, "Make a certificate:\n  %s cert -self-signed -hosts %s\n", flags.Sibling("admin"), units.Quoted(at.name()))
	if !o.mayHaveUsers() {
		o.explainUsers(&text)
	}
	fmt.Fprintf(&text, "Start it with the certificate:\n  %s\n", flags.CommandLine("-tls-cert", "cert.pem", "-tls-key", "key.pem"))
	text.WriteString(orInsecure)
	return errors.New(text.String())
}

// withoutUsers refuses to listen at an endpoint.
func (o *options) withoutUsers(at *endpoint) error {
	var text strings.Builder
	fmt.Fprintf(&text, "it does not start, because it would listen on -%s %s\nwithout users: others could do everything.\n", at.hostFlag, at.host)
	o.explainUsers(&text)
	fmt.Fprintf(&text, "Start it as now:\n  %s\n", flags.CommandLine())
	text.WriteString(orInsecure)
	return errors.New(text.String())
}

// explainUsers has the commands that make a user.
func (o *options) explainUsers(text *strings.Builder) {
	fmt.Fprintf(text, "Start it on loopback addresses:\n  %s\n", flags.CommandLine(o.onLoopback()...))
	fmt.Fprintf(text, "Make a user in another shell, then stop the broker with ^C:\n  %s user add NAME%s\n  %[1]s grant NAME all '*' -group '*'%[2]s\n", flags.Sibling("admin"), o.adminFlags())
}

const orInsecure = "Or -insecure starts it as it is, for a network in which everybody may do\neverything"
