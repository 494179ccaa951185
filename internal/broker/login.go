package broker

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"mbus/internal/auth"
)

// A Client is what a front knows of a connection before a log-in.
type Client struct {
	Address     netip.AddrPort
	Local       netip.AddrPort // the broker's own, to which it has connected
	IsPrivate   bool           // nobody else reads what it sends: it came over TLS, or from a loopback address to one
	Certificate string         // the name in the certificate that it has proven to own; "" for none

	hasLeft func() bool
}

// Applicant is the client for a log-in with a password.
func (c Client) Applicant() auth.Applicant {
	return auth.Applicant{Address: c.Address.Addr(), HasLeft: c.hasLeft}
}

// A Connection is what NewClient asks of one.
type Connection interface {
	RemoteAddrPort() netip.AddrPort
	LocalAddrPort() netip.AddrPort
	IsPrivate() bool
	CertificateName() string
	HasLeft() bool
}

// NewClient is the client of a connection.
func NewClient(c Connection) Client {
	return Client{Address: c.RemoteAddrPort(), Local: c.LocalAddrPort(), IsPrivate: c.IsPrivate(), Certificate: c.CertificateName(), hasLeft: c.HasLeft}
}

// ErrNotPrivate refuses a password or a token that others may have read.
var ErrNotPrivate = errors.New("the connection is not encrypted: passwords and tokens are taken over TLS only, or on a loopback address")

// A Claim is what a client that logs in says it is, before that is proven.
type Claim struct {
	User string // "" where it names none, as with a token
	By   string // a mechanism, as in auth.Identity
}

// Login finds out which user a client is: prove gets the users and asks one of them. A failure takes longer the more of
// them came from the client's address, unless cancel is closed. The error is ErrNotPrivate, auth.ErrUnauthenticated,
// auth.ErrLeft, which is no failure, or that of prove.
func (b *Broker) Login(c Client, claim Claim, cancel <-chan struct{}, prove func(*auth.Users) (auth.Identity, error)) (auth.Identity, error) {
	if !c.IsPrivate {
		return auth.Identity{}, ErrNotPrivate
	}
	id, err := prove(b.Users())
	if err == nil || errors.Is(err, auth.ErrLeft) {
		return id, err
	}
	b.LoginFailed(c, claim, cancel)
	return auth.Identity{}, err
}

// LoginFailed counts, and slows down, a log-in that has failed. The audit trail names the claimed user only if there is
// one, or a certificate has the name: another text may be a password that was typed in the place of the name.
func (b *Broker) LoginFailed(c Client, claim Claim, cancel <-chan struct{}) {
	if claim.User != c.Certificate && !b.Users().Has(claim.User) {
		claim.User = ""
	}
	b.trail.failedLogins.Add(1)
	b.trail.refuse(Principal{By: claim.By, From: c.Address.String()}, "log in", UserResource, claim.User)
	select {
	case <-time.After(b.trail.attempts.Failed(c.Address.Addr(), time.Now())):
	case <-cancel:
	}
}

// NewPrincipal is that of a client that has logged in, or has not.
func NewPrincipal(id auth.Identity, c Client) Principal {
	return Principal{Name: id.Name, By: id.By, From: c.Address.String()}
}

// Exposure says what protects nobody, although others than this machine's users reach the broker: "TLS", "users", or
// "TLS and users"; "" if nothing is open to them. It can change while the broker runs, with its users.
func (b *Broker) Exposure() string {
	if !b.opts.Exposed {
		return ""
	}
	var lacks []string
	if b.opts.CertificateEnd == nil {
		lacks = append(lacks, "TLS")
	}
	if !b.Users().Any() {
		lacks = append(lacks, "users")
	}
	return strings.Join(lacks, " and ")
}
