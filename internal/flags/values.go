package flags

import (
	"errors"
	"strconv"
	"time"

	"mbus/internal/units"
)

// A value is the value of a flag, with the functions that read and write it.
type value[T any] struct {
	to    *T
	read  func(string) (T, error)
	write func(T) string
}

// String is the default in the help. The standard package also calls it on a zero value.
func (v *value[T]) String() string {
	if v.to == nil {
		return ""
	}
	return v.write(*v.to)
}

func (v *value[T]) Set(text string) error {
	read, err := v.read(text)
	if err == nil {
		*v.to = read
	}
	return err
}

// StringVar defines a flag that is a text. It must not be empty, except for flags of MayBeEmpty,
// because a script's -from "$FROM" must not mean the default if the variable is not set.
func (s *Set) StringVar(to *string, name, preset, usage string) {
	*to = preset
	s.Var(&value[string]{to, func(text string) (string, error) {
		if text == "" && !s.empty[name] {
			return "", errors.New("it is empty: leave the flag out, or give it a value")
		}
		return text, nil
	}, identity}, name, usage)
}

// String is StringVar with a variable of its own.
func (s *Set) String(name, preset, usage string) *string {
	to := new(string)
	s.StringVar(to, name, preset, usage)
	return to
}

// IntVar defines a flag that is a whole number.
func (s *Set) IntVar(to *int, name string, preset int, usage string) {
	*to = preset
	s.Var(&value[int]{to, readInt, strconv.Itoa}, name, usage)
}

// Int is IntVar with a variable of its own.
func (s *Set) Int(name string, preset int, usage string) *int {
	to := new(int)
	s.IntVar(to, name, preset, usage)
	return to
}

// Int64Var defines a flag that is a whole number.
func (s *Set) Int64Var(to *int64, name string, preset int64, usage string) {
	*to = preset
	s.Var(&value[int64]{to, readInt64, func(n int64) string { return strconv.FormatInt(n, 10) }}, name, usage)
}

// DurationVar defines a flag that is a duration from 0 up, as units.ParseDuration
// reads it.
func (s *Set) DurationVar(to *time.Duration, name string, preset time.Duration, usage string) {
	*to = preset
	s.Var(&value[time.Duration]{to, units.ParseDuration, units.FormatDuration}, name, usage)
}

// Duration is DurationVar with a variable of its own.
func (s *Set) Duration(name string, preset time.Duration, usage string) *time.Duration {
	to := new(time.Duration)
	s.DurationVar(to, name, preset, usage)
	return to
}

// SizeVar defines a flag that is a size in bytes from 0 up, as units.ParseSize reads
// it.
func (s *Set) SizeVar(to *int64, name string, preset int64, usage string) {
	*to = preset
	s.Var(&value[int64]{to, units.ParseSize, units.FormatSize}, name, usage)
}

// TimeVar defines a flag that is a time, as units.ParseTime reads it. A time without a zone is in
// the program's zone, and gets its offset, because the broker's zone may differ.
func (s *Set) TimeVar(to *string, name, usage string) {
	s.Var(&value[string]{to, readTime, identity}, name, usage)
}

// PositionVar defines a flag that is a position in a topic, as units.ParsePosition reads it, or
// "stored". Times are those of TimeVar.
func (s *Set) PositionVar(to *string, name, usage string) {
	s.Var(&value[string]{to, readPosition, identity}, name, usage)
}

// BoolVar defines a flag that needs no value.
func (s *Set) BoolVar(to *bool, name string, preset bool, usage string) {
	*to = preset
	s.Var(&boolValue{value[bool]{to, readBool, strconv.FormatBool}}, name, usage)
}

// Bool is BoolVar with a variable of its own.
func (s *Set) Bool(name string, preset bool, usage string) *bool {
	to := new(bool)
	s.BoolVar(to, name, preset, usage)
	return to
}

type boolValue struct{ value[bool] }

// IsBoolFlag tells the standard package that the flag needs no value.
func (*boolValue) IsBoolFlag() bool { return true }

func readInt64(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("the number is too large")
	case err != nil:
		return 0, errors.New("it takes a whole number")
	}
	return n, nil
}

func readInt(text string) (int, error) {
	n, err := readInt64(text)
	return int(n), err // int has 64 bits on all systems of mbus
}

func readBool(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("it takes true or false, or no value")
	}
	return b, nil
}

func readTime(text string) (string, error) {
	_, err := units.ParseTime(text, time.Local)
	return units.WithZone(text, time.Local), err
}

func readPosition(text string) (string, error) {
	if text == "stored" {
		return text, nil
	}
	_, err := units.ParsePosition(text, time.Now(), time.Local)
	return units.WithZone(text, time.Local), err
}

func identity(text string) string { return text }
