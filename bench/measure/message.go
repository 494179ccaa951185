package measure

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

// Size is the length of every message in bytes.
const Size = 100

const (
	letters   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	stampSize = 16 // hexadecimal digits
)

// Messages makes n messages of random letters, which no compression shortens by
// much and which are lines.
func Messages(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2)) // the same ones each time
	list := make([][]byte, n)
	for i := range list {
		list[i] = make([]byte, Size)
		for j := range list[i] {
			list[i][j] = letters[random.IntN(len(letters))]
		}
	}
	return list
}

// Stamped makes a message that says when it was due.
func Stamped(due time.Time) []byte {
	m := make([]byte, Size)
	for i := range m {
		m[i] = letters[i%len(letters)]
	}
	digits := strconv.FormatInt(due.UnixNano(), 16)
	copy(m, "0000000000000000"[:stampSize-len(digits)]+digits)
	return m
}

// Due is what Stamped has written.
func Due(message []byte) (time.Time, error) {
	if len(message) != Size {
		return time.Time{}, errors.New("a message has another length than it was sent with")
	}
	ns, err := strconv.ParseInt(string(message[:stampSize]), 16, 64)
	return time.Unix(0, ns), err
}
