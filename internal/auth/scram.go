package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An Exchange is one log-in by SCRAM, as the server has it (RFC 5802): the client sends two messages, and
// gets an answer to each. One goroutine uses it.
type Exchange struct {
	users      *Users
	name       string     // of the user that the client claims to be
	credential Credential // of nobody if the user is unknown
	user       *user      // nil if the user is unknown, or has no such credential
	header     string     // of channel binding, which both messages have
	own        string     // nonce
	nonce      string     // the client's and the own one; "" before the first message
	signed     string     // what both sign, as far as it is known
}

// maxScram bounds a message of a client, in bytes.
const maxScram = 4096

// nonceSize is the size of the own nonce, in bytes before base64.
const nonceSize = 24

var errScram = errors.New("a SCRAM message that RFC 5802 does not have")

// Exchange begins a log-in.
func (u *Users) Exchange(m Mechanism) *Exchange {
	own := make([]byte, nonceSize)
	rand.Read(own)
	return &Exchange{users: u, credential: Credential{Mechanism: m}, own: base64.StdEncoding.EncodeToString(own)}
}

// Step takes a client's message, and returns the answer. The identity is that of the second step. The
// error is ErrUnauthenticated, or says that the message is malformed; then the exchange has ended. An
// answer with an error is for the client, too.
func (e *Exchange) Step(message []byte) (answer []byte, id Identity, err error) {
	if len(message) > maxScram {
		return nil, id, fmt.Errorf("%w: it has more than %d bytes", errScram, maxScram)
	}
	if e.nonce == "" {
		answer, err = e.first(string(message))
		return answer, id, err
	}
	return e.final(string(message))
}

// Claimed is the name of the user that the client says it is; "" before the first message. Nothing proves it.
func (e *Exchange) Claimed() string { return e.name }

// first answers the client-first-message.
func (e *Exchange) first(message string) ([]byte, error) {
	flag, rest, _ := strings.Cut(message, ",")
	authorize, bare, ok := strings.Cut(rest, ",")
	if !ok || flag != "n" && flag != "y" { // y: the client knows channel binding, and believes that the server does not
		return nil, fmt.Errorf("%w: the first one begins with n or y, because channel binding is not served", errScram)
	}
	escaped, rest, _ := strings.Cut(bare, ",")
	nonce, _, _ := strings.Cut(rest, ",") // extensions behind it are ignored
	name, isName := unescape(escaped)
	nonce, isNonce := strings.CutPrefix(nonce, "r=")
	if !isName || !isNonce || !isPrintable(nonce) {
		return nil, fmt.Errorf("%w: the first one has n=USER,r=NONCE", errScram)
	}
	if authorize != "" && authorize != "a="+strings.TrimPrefix(escaped, "n=") {
		return nil, fmt.Errorf("%w: no user acts for another one", errScram)
	}
	e.name = name
	e.user, e.credential = e.users.credential(name, e.credential.Mechanism)
	e.header = flag + "," + authorize + ","
	e.nonce = nonce + e.own
	answer := "r=" + e.nonce + ",s=" + base64.StdEncoding.EncodeToString(e.credential.Salt) + ",i=" + strconv.Itoa(e.credential.Iterations)
	e.signed = bare + "," + answer
	return []byte(answer), nil
}

// final checks the client-final-message. Its nonce may have the client's part twice, as that of librdkafka before
// version 2.6.1 has, which Kafka's brokers accept, too.
func (e *Exchange) final(message string) (answer []byte, id Identity, err error) {
	i := strings.LastIndex(message, ",p=")
	if i < 0 {
		return nil, id, fmt.Errorf("%w: the second one ends with a proof", errScram)
	}
	signed := e.signed + "," + message[:i]
	binding, rest, _ := strings.Cut(message[:i], ",")
	nonce, _, _ := strings.Cut(rest, ",")
	encoded := message[i+len(",p="):]
	proof, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil || strings.ContainsAny(encoded, "\r\n") || len(proof) != len(e.credential.StoredKey):
		return nil, id, fmt.Errorf("%w: the proof has %d bytes in base64", errScram, len(e.credential.StoredKey))
	case binding != "c="+base64.StdEncoding.EncodeToString([]byte(e.header)):
		return nil, id, fmt.Errorf("%w: the channel binding is not that of the first one", errScram)
	case nonce != "r="+e.nonce && nonce != "r="+strings.TrimSuffix(e.nonce, e.own)+e.nonce:
		return nil, id, fmt.Errorf("%w: the nonce is another one", errScram)
	}
	m := e.credential.Mechanism
	clientKey := m.mac(e.credential.StoredKey, signed)
	subtle.XORBytes(clientKey, clientKey, proof)
	same := subtle.ConstantTimeCompare(m.storedKey(clientKey), e.credential.StoredKey) == 1
	if !same || e.user == nil {
		return []byte("e=invalid-proof"), id, ErrUnauthenticated
	}
	id, err = e.users.identity(e.user, string(m))
	return []byte("v=" + base64.StdEncoding.EncodeToString(m.mac(e.credential.ServerKey, signed))), id, err
}

// unescape reads n= and a saslname.
func unescape(escaped string) (name string, ok bool) {
	name, ok = strings.CutPrefix(escaped, "n=")
	rest := strings.NewReplacer("=2C", "", "=3D", "").Replace(name)
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name), ok && name != "" && !strings.Contains(rest, "=")
}

// isPrintable reports whether a nonce is one.
func isPrintable(nonce string) bool {
	for _, c := range []byte(nonce) {
		if c < '!' || c > '~' || c == ',' {
			return false
		}
	}
	return nonce != ""
}
