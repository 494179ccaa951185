package web

import (
	"fmt"
	"html/template"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mbus/internal/broker"
	"mbus/internal/units"
)

// uiFuncs are for the templates.
var uiFuncs = template.FuncMap{
	"count": groupedAny, "bytes": bytesText, "time": timeText, "iso": isoText, "age": ageText, "visible": visible,
	"path": url.PathEscape, "query": url.QueryEscape, "shell": units.Quoted,
}

// grouped is a number with its digits in groups of three.
func grouped[T int | int64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	var b strings.Builder
	for i, d := range digits {
		if rest := len(digits) - i; i > 0 && rest%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// groupedAny is grouped for a template.
func groupedAny(n any) (string, error) {
	switch n := n.(type) {
	case int:
		return grouped(n), nil
	case int64:
		return grouped(n), nil
	}
	return "", fmt.Errorf("%T is no number", n)
}

// bytesText is a size with three digits.
func bytesText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	size, unit := float64(n), -1
	for size >= 1024 {
		size, unit = size/1024, unit+1
	}
	digits := 1
	if size >= 100 {
		digits = 0
	}
	return strconv.FormatFloat(size, 'f', digits, 64) + " " + "KMGTPE"[unit:unit+1] + "iB"
}

// timeText is a time for people, in UTC; "–" for none.
func timeText(ms int64) string {
	if t := time.UnixMilli(ms).UTC(); t.Year() >= 0 && t.Year() <= 9999 {
		return t.Format("2006-01-02 15:04:05.000")
	}
	return strconv.FormatInt(ms, 10)
}

// isoText is a time for programs, in UTC.
func isoText(ms int64) string {
	if t := time.UnixMilli(ms).UTC(); t.Year() >= 0 && t.Year() <= 9999 {
		return t.Format("2006-01-02T15:04:05.000Z07:00")
	}
	return ""
}

// ageText is how long ago a time is, in its largest unit.
func ageText(ms int64) string {
	d := time.Since(time.UnixMilli(ms))
	switch {
	case d < 0:
		return "in " + largestUnit(-d)
	case d < time.Second:
		return "now"
	}
	return largestUnit(d)
}

func largestUnit(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}

// retentionText is an age limit in milliseconds; -1 is none.
func retentionText(ms int64) string {
	if ms < 0 {
		return "for ever"
	}
	if ms > int64(1<<63-1)/int64(time.Millisecond) {
		return strconv.FormatInt(ms, 10) + " ms"
	}
	return units.FormatDuration(time.Duration(ms) * time.Millisecond)
}

// maxShown bounds what is shown of a key or a value, in bytes: the message's own address has all
// of it.
const maxShown = 2000

// visible is bytes as text. What is not text, or would not be seen, is escaped.
func visible(p []byte) string {
	cut := ""
	if len(p) > maxShown {
		p, cut = wholeRunes(p[:maxShown]), "…"
	}
	var b strings.Builder
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, p[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default: // of the direction of text, and such
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		p = p[n:]
	}
	return b.String() + cut
}

// wholeRunes is text without the first bytes of a character at its end.
func wholeRunes(p []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if end := p[len(p)-n:]; utf8.RuneStart(end[0]) {
			if !utf8.FullRune(end) {
				return p[:len(p)-n]
			}
			break
		}
	}
	return p
}

// Ports are where commands find the broker, and how they get in: the host that the browser has used, and the ports.
type ports struct {
	Host, Producers, Consumers, Kafka, HTTP string

	User  string // that has logged in, and logs in; "" for none
	IsTLS bool   // the browser has come over TLS
}

func newPorts(c *call) ports {
	host, _, err := net.SplitHostPort(c.r.Host)
	if err != nil {
		host = strings.Trim(c.r.Host, "[]")
	}
	port := func(protocol, usual string) string {
		if _, p, err := net.SplitHostPort(c.server.opts.Ports[protocol]); err == nil {
			return p
		}
		return usual
	}
	user, _ := broker.OwnUser(c.view)
	_, isTLS := c.conn.net.ServerName()
	return ports{host, port("producers", "9990"), port("consumers", "9991"), port("kafka", "9092"), port("http", "9992"), user.Name, isTLS}
}

// Flags lead admin and consumer to the broker, which is on their own machine if they name no host.
func (p ports) Flags() string {
	if p.isHere() {
		return "-port " + p.Consumers + p.entry()
	}
	return "-host " + units.Quoted(p.Host) + " -port " + p.Consumers + p.entry()
}

// entry is the flags of programs that let them in, with a space before each.
func (p ports) entry() (flags string) {
	if p.IsTLS {
		flags = " -tls"
	}
	if p.User != "" {
		flags += " -user " + units.Quoted(p.User)
	}
	return flags
}

// IsSecured reports whether commands need a password, or authorities to trust.
func (p ports) IsSecured() bool { return p.IsTLS || p.User != "" }

// Curl is curl, which asks for the password of the user.
func (p ports) Curl() string {
	if p.User == "" {
		return "curl"
	}
	return "curl -u " + units.Quoted(p.User)
}

// Kcat is kcat, whose password is in a file: others see what a command line has.
func (p ports) Kcat() string {
	if p.IsSecured() {
		return "kcat -F kcat.conf"
	}
	return "kcat"
}

// Lines sends lines to a port by hand. The password is in no command line: printf is a part of the shell.
func (p ports) Lines(port string, lines ...string) string {
	text, to := "printf '"+strings.Join(lines, `\n`)+`\n'`, "nc -N "+p.Host+" "+port
	switch {
	case p.User != "":
		text = `printf 'AUTH %s %s\n` + strings.Join(lines, `\n`) + `\n' ` + units.Quoted(p.User) + ` "$MBUS_PASSWORD"`
	case len(lines) == 1:
		text = "echo '" + lines[0] + "'"
	}
	if len(lines) == 1 {
		to = "nc " + p.Host + " " + port
	}
	if p.IsTLS {
		to = "openssl s_client -quiet -connect " + p.Join(port)
	}
	return text + " | " + to
}

// AdminFlags lead admin to the broker over HTTP, with a space before each.
func (p ports) AdminFlags() (flags string) {
	if !p.isHere() {
		flags += " -host " + units.Quoted(p.Host)
	}
	if p.HTTP != "9992" {
		flags += " -hport " + p.HTTP
	}
	return flags + p.entry()
}

// isHere reports whether the host is this machine.
func (p ports) isHere() bool {
	ip, err := netip.ParseAddr(p.Host)
	return p.Host == "localhost" || err == nil && ip.IsLoopback()
}

// Join is the host and a port.
func (p ports) Join(port string) string { return net.JoinHostPort(p.Host, port) }

// URL is the broker's address over HTTP.
func (p ports) URL() string {
	if p.IsTLS {
		return "https://" + p.Join(p.HTTP)
	}
	return "http://" + p.Join(p.HTTP)
}
