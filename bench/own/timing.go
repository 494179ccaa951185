package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/bench/measure"
	"mbus/internal/auth"
)

// Numbers of how well a client can tell a wrong user from a wrong password by the time of the answer.
const (
	numberPassword = "Welch's t, a password is checked"
	numberExchange = "Welch's t, an exchange of SCRAM-SHA-256"
	numberFirst    = "Welch's t, the first message of SCRAM-SHA-256 over a socket"
)

// A user that there is, and one that there is not, whose name is as long.
const (
	rightUser = "alice"
	wrongUser = "mallo"
)

// timing compares the times of answers to a wrong user and to a wrong password.
func (r *round) timing() error {
	if !hasTLS(r.broker) {
		return nil // nor has it users
	}
	for name, try := range map[string]func(*auth.Editor, string) (time.Duration, error){
		numberPassword: checked,
		numberExchange: exchange,
	} {
		p := passwords{try: try}
		if err := r.tellApart(name, p.next); err != nil {
			return err
		}
	}
	return r.firstOverSocket()
}

// freshAfter is how many tries some users are used for: far below those behind which wrong
// passwords wait for a turn, which is time that nobody computes.
const freshAfter = 100

// passwords are tries with users that are replaced again and again.
type passwords struct {
	try   func(*auth.Editor, string) (time.Duration, error)
	users *auth.Editor
	left  int // tries with users
}

func (p *passwords) next(user string) (time.Duration, error) {
	if p.left == 0 {
		var err error
		if p.users, err = oneUser(); err != nil {
			return 0, err
		}
		p.left = freshAfter
		for _, user := range []string{rightUser, wrongUser} { // the first try finds nothing in the caches
			if _, err := p.try(p.users, user); err != nil {
				return 0, err
			}
		}
	}
	p.left--
	return p.try(p.users, user)
}

func checked(users *auth.Editor, user string) (time.Duration, error) {
	begun := time.Now()
	_, err := users.Password(user, "wrong", auth.Applicant{})
	return time.Since(begun), mustBeRefused(err)
}

// oneUser makes users of whom there is one.
func oneUser() (*auth.Editor, error) {
	users := auth.New(func(string, []byte) error { return nil })
	users.Loaded()
	credentials, err := auth.NewCredentials("secret")
	if err != nil {
		return nil, err
	}
	return users, users.Change(rightUser, func(u *auth.User, _ bool) error {
		u.SetCredentials(credentials...)
		return nil
	})
}

func mustBeRefused(err error) error {
	if errors.Is(err, auth.ErrUnauthenticated) {
		return nil
	}
	return fmt.Errorf("a log-in that is wrong was not refused: %v", err)
}

// tellApart makes a number of Welch's t for the times of tries by two users.
func (r *round) tellApart(name string, try func(user string) (time.Duration, error)) error {
	var times [2][]time.Duration
	users := [2]string{rightUser, wrongUser}
	for n := range warmUp + r.tries {
		first := rand.IntN(2) // what comes second may profit from the first
		for _, i := range [2]int{first, 1 - first} {
			took, err := try(users[i])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if n >= warmUp {
				times[i] = append(times[i], took)
			}
		}
	}
	r.number(name, "", math.Abs(measure.Welch(times[0], times[1])))
	r.number("mean time of a wrong password: "+name, "µs", float64(measure.Mean(times[0]).Nanoseconds())/1e3)
	r.number("mean time of a wrong user: "+name, "µs", float64(measure.Mean(times[1]).Nanoseconds())/1e3)
	return nil
}

// warmUp are tries whose times do not count.
const warmUp = 10

// exchange has a user without the right proof log in, and gives the time of both answers.
func exchange(users *auth.Editor, user string) (time.Duration, error) {
	first := firstMessage(user)
	begun := time.Now()
	e := users.Exchange(auth.SHA256)
	answer, _, err := e.Step([]byte(first))
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	nonce, _, _ := strings.Cut(string(answer), ",")
	final := "c=" + base64.StdEncoding.EncodeToString([]byte("n,,")) + "," + nonce + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	begun = time.Now()
	_, _, err = e.Step([]byte(final))
	return took + time.Since(begun), mustBeRefused(err)
}

func firstMessage(user string) string { return "n,,n=" + user + ",r=rOprNGfwEbeRWgbNEkqO" }

// firstOverSocket asks a broker that runs for the salt of a user.
func (r *round) firstOverSocket() error {
	if err := r.launch("timing", numberEmpty); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(r.dir, "timing"))
	defer r.kill()
	if err := r.addUser(filepath.Join(r.dir, "timing")); err != nil {
		return err
	}
	return r.tellApart(numberFirst, func(user string) (time.Duration, error) { return askForSalt(r.b.Kafka(), user) })
}

// addUser makes the user that there is, as the operator.
func (r *round) addUser(data string) error {
	token, err := os.ReadFile(filepath.Join(data, "operator-token"))
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+r.b.HTTP()+"/users/"+rightUser, strings.NewReader(`{"password":"secret"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("the user could not be made: %s: %q", resp.Status, text)
	}
	return err
}

// askForSalt connects, sends the first message of SCRAM, and gives the time until its answer.
func askForSalt(address, user string) (time.Duration, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Version, handshake.Mechanism = 1, string(auth.SHA256)
	if _, err := ask(conn, handshake); err != nil {
		return 0, err
	}
	first := kmsg.NewPtrSASLAuthenticateRequest()
	first.Version, first.SASLAuthBytes = 1, []byte(firstMessage(user))
	begun := time.Now()
	answer, err := ask(conn, first)
	took := time.Since(begun)
	if err == nil && !strings.Contains(string(answer), ",s=") {
		err = fmt.Errorf("the broker answered %q, without a salt", answer)
	}
	return took, err
}

// ask sends a request of Kafka's protocol, and returns the answer's bytes.
func ask(conn net.Conn, req kmsg.Request) ([]byte, error) {
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return nil, err
	}
	answer := make([]byte, answerSpace)
	if _, err := io.ReadFull(conn, answer[:4]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(answer)
	if n > answerSpace {
		return nil, fmt.Errorf("the answer has %d bytes", n)
	}
	_, err := io.ReadFull(conn, answer[:n])
	return answer[:n], err
}

// timingFigures say whether a wrong user looks like a wrong password.
func timingFigures(t *table) []figure {
	var list []figure
	for _, f := range []struct{ name, number string }{
		{"a password is checked", numberPassword},
		{"an exchange of SCRAM-SHA-256", numberExchange},
		{"SCRAM-SHA-256 over a socket, first message", numberFirst},
	} {
		list = append(list, figure{"wrong user to wrong password, Welch's t: " + f.name, t.value(f.number), 3, true, "", "", 0})
	}
	return list
}
