package units

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// prefixes are the prefixes of sizes, each 1024 or 1000 times the one before it.
const prefixes = "KMGTPE"

// ParseSize reads a size in bytes from 0 up: a number and a unit. With a unit the number may have a
// fraction. K, M, G, T, P, E and KiB to EiB are powers of 1024, kB to EB are powers of 1000. Case
// makes no difference. It fails with ErrSize or ErrTooMuch.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	factor, ok := factor(strings.TrimSpace(s[len(digits):]))
	if !ok || strings.Trim(digits, "0123456789.") != "" || len(digits) > 40 {
		return 0, ErrSize
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err == nil && n > math.MaxInt64/factor:
		return 0, ErrTooMuch
	case err == nil:
		return n * factor, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, ErrTooMuch
	}
	return fraction(digits, factor)
}

// fraction reads a size with a decimal point exactly, rounded down to whole bytes.
func fraction(digits string, factor int64) (int64, error) {
	whole, part, _ := strings.Cut(digits, ".")
	r, ok := new(big.Rat).SetString(digits)
	if !ok || whole == "" || part == "" || factor == 1 {
		return 0, ErrSize
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, ErrTooMuch
	}
	return n.Int64(), nil
}

// factor is the number of bytes of a unit.
func factor(unit string) (int64, bool) {
	unit = strings.ToUpper(unit)
	if unit == "" || unit == "B" {
		return 1, true
	}
	power := strings.IndexByte(prefixes, unit[0]) + 1
	base := int64(1024)
	switch unit[1:] {
	case "B":
		base = 1000
	case "", "I", "IB":
	default:
		return 0, false
	}
	if power == 0 {
		return 0, false
	}
	f := int64(1)
	for range power {
		f *= base
	}
	return f, true
}

// FormatSize writes a size for ParseSize, exactly and in the shortest form: 65536 is 64KiB, ten
// thousand million are 10GB.
func FormatSize(n int64) string {
	shortest := strconv.FormatInt(n, 10)
	for _, text := range []string{inUnits(n, 1000, "B"), inUnits(n, 1024, "iB")} {
		if len(text) <= len(shortest) {
			shortest = text
		}
	}
	return shortest
}

// inUnits writes a size in the largest unit of which it is a multiple.
func inUnits(n, base int64, unit string) string {
	power := 0
	for n > 0 && n%base == 0 {
		n /= base
		power++
	}
	if power == 0 {
		return strconv.FormatInt(n, 10)
	}
	prefix := prefixes[power-1 : power]
	if base == 1000 && prefix == "K" {
		prefix = "k" // of the SI
	}
	return strconv.FormatInt(n, 10) + prefix + unit
}
