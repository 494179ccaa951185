package client

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"mbus/internal/flags"
)

// Flags are those of all programs that say how they get in at a broker.
type Flags struct {
	tls                  bool
	ca, certificate, key string // files
	user, passwordFile   string
}

// Define makes the flags.
func (f *Flags) Define(s *flags.Set) {
	s.BoolVar(&f.tls, "tls", false, "encrypt the connection with TLS")
	s.StringVar(&f.ca, "tls-ca", "", "`FILE`: the certificates, in PEM, of the authorities that may have signed the broker's; it implies -tls (default those of the system)")
	s.StringVar(&f.certificate, "tls-cert", "", "`FILE`: with -tls: the certificate, in PEM, that names this user")
	s.StringVar(&f.key, "tls-key", "", "`FILE`: the key of -tls-cert, in PEM (default in the same file)")
	s.StringVar(&f.user, "user", "", "`NAME`: log in as this user, with the password in MBUS_PASSWORD or -password-file; MBUS_TOKEN has a token in place of both")
	s.StringVar(&f.passwordFile, "password-file", "", "`FILE`: has the password of -user, or without -user a token")
	names := []string{"tls", "tls-ca", "tls-cert", "tls-key", "user", "password-file"}
	s.Group("How to get in", names...)
	s.Places(names...)
}

// User is the name that -user gives, "" for none.
func (f *Flags) User() string { return f.user }

// NewPassword is the password in MBUS_PASSWORD or in the file of -password-file, "" for none, where it is that of a
// user to be made, because without -user nobody logs in with it. Broker then does not read it.
func (f *Flags) NewPassword(s *flags.Set) (secret string, err error) {
	switch {
	case f.user != "":
		return "", nil
	case f.passwordFile == "":
		return s.Secret("password"), nil
	}
	if secret, err = readSecret(f.passwordFile); err != nil {
		return "", fmt.Errorf("-password-file: %w", err)
	}
	f.passwordFile = ""
	return secret, nil
}

// maxSecret bounds a password file, in bytes.
const maxSecret = 2048

// Broker reads the files, and the secrets in the environment. The text of the error names the flag.
func (f *Flags) Broker(s *flags.Set, addr string) (Broker, error) {
	b := Broker{Addr: addr, User: f.user}
	var err error
	if f.tls || f.ca != "" { // not by -tls-cert, whose variable a broker beside has, too
		if b.TLS, err = f.config(); err != nil {
			return b, err
		}
	}
	secret := ""
	switch {
	case f.passwordFile != "":
		if secret, err = readSecret(f.passwordFile); err != nil {
			return b, fmt.Errorf("-password-file: %w", err)
		}
	case f.user != "":
		secret = s.Secret("password")
	default:
		secret = s.Secret("token")
	}
	if err := checkSecret(f.user, secret); err != nil {
		return b, err
	}
	if f.user == "" {
		b.Token = secret
	} else if b.Password = secret; secret == "" && f.certificate == "" {
		return b, errNoPassword
	}
	return b, nil
}

var errNoPassword = errors.New("-user needs a password: in the environment variable MBUS_PASSWORD, or in the file of -password-file")

// checkSecret refuses what would be another line, or another user.
func checkSecret(user, secret string) error {
	if strings.ContainsFunc(secret, unicode.IsControl) {
		return errors.New("the password or the token has control characters")
	}
	if strings.ContainsFunc(user, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return fmt.Errorf("-user is %q: no user's name has spaces or control characters", user)
	}
	return nil
}

// readSecret reads a file of one line.
func readSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%q has more than %d bytes", name, maxSecret)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return "", fmt.Errorf("%q is empty", name)
	}
	return string(text), nil
}

func (f *Flags) config() (*tls.Config, error) {
	config := new(tls.Config)
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("-tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-tls-ca: %q has no certificate in PEM", f.ca)
		}
	}
	switch {
	case f.certificate == "" && f.key != "":
		return nil, errors.New("-tls-key goes with -tls-cert")
	case f.certificate != "":
		key := f.key
		if key == "" {
			key = f.certificate
		}
		own, err := tls.LoadX509KeyPair(f.certificate, key)
		if err != nil {
			return nil, fmt.Errorf("-tls-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
