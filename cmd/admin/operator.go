package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"mbus/internal/auth"
	"mbus/internal/client"
)

// maxToken bounds what is read of it, in bytes.
const maxToken = 256

// logIns are the ways to log in, in their order: the one that was given, or else the operator token if the broker is on
// this machine, and none. why is about a token that can't be read.
func logIns(given client.Broker, data string) (ways []client.Broker, why error) {
	if given.User != "" || given.Token != "" || given.TLS != nil && len(given.TLS.Certificates) > 0 || !isLoopback(given.Addr) {
		return []client.Broker{given}, nil
	}
	token, err := readToken(filepath.Join(data, auth.OperatorFile))
	if err != nil {
		return []client.Broker{given}, err
	}
	operator := given
	operator.TokenAt = func(at netip.AddrPort) string { return auth.OperatorTokenAt(token, at) }
	return []client.Broker{operator, given}, nil
}

// isLoopback says that a host is this machine.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if !auth.LooksLikeToken(token) {
		return "", fmt.Errorf("%q has no token", name)
	}
	return token, nil
}

// tryLogIns calls f with each way to log in until one is not denied.
func tryLogIns(ways []client.Broker, why error, f func(client.Broker) error) (err error) {
	for i, b := range ways {
		err = f(b)
		if !isDenied(err) || i == len(ways)-1 {
			break
		}
	}
	switch {
	case !isDenied(err) || ways[0].User != "":
		return err
	case len(ways) > 1:
		return fmt.Errorf("%w; the operator token is that of another broker or of an earlier start: -data names the broker's data directory, or -user logs in", err)
	case errors.Is(why, fs.ErrNotExist):
		return fmt.Errorf("%w; -user logs in, or -data names the data directory of a broker on this machine: it has no token (%w)", err, why)
	case why == nil && ways[0].Token == "" && (ways[0].TLS == nil || len(ways[0].TLS.Certificates) == 0):
		return fmt.Errorf("%w; -user logs in, with the password in MBUS_PASSWORD or the file of -password-file", err)
	case why != nil:
		return fmt.Errorf("%w; -user logs in: the operator token can't be read (%w)", err, why)
	}
	return err
}

// isDenied says that the broker does not let this client do that.
func isDenied(err error) bool {
	var answered *client.Error
	return errors.As(err, &answered) && answered.Code == codeDenied
}

const codeDenied = "DENIED"
