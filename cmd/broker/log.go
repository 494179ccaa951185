package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"mbus/internal/flags"
)

// Formats of the log.
const (
	logText = "text"
	logJSON = "json"
)

// logOptions are the settings of the log.
type logOptions struct {
	level  slog.Level
	format string // text or json
}

func (o *logOptions) define(s *flags.Set) {
	o.format = logText
	s.Func("log-level", "`LEVEL`: the lowest level that is logged: debug (connections, too), info, warn or error (default info)", o.setLevel)
	s.Func("log-format", "`FORMAT`: the format of the log on standard error: text or json (default text)", o.setFormat)
}

func (o *logOptions) setLevel(value string) error {
	switch value {
	case "debug", "info", "warn", "error":
		return o.level.UnmarshalText([]byte(strings.ToUpper(value)))
	}
	return errors.New("it takes debug, info, warn or error")
}

func (o *logOptions) setFormat(value string) error {
	if value != logText && value != logJSON {
		return errors.New("it takes text or json")
	}
	o.format = value
	return nil
}

// isForPeople says whether people read the start in the log.
func (o *logOptions) isForPeople() bool { return o.format == logText && o.level <= slog.LevelInfo }

// logger writes the log to w.
func (o *logOptions) logger(w io.Writer) *slog.Logger {
	handler := &slog.HandlerOptions{Level: o.level}
	if o.format == logJSON {
		handler.ReplaceAttr = asText
		return slog.New(slog.NewJSONHandler(w, handler))
	}
	return slog.New(slog.NewTextHandler(w, handler))
}

// asText makes addresses and durations look the same in JSON and in text.
func asText(_ []string, a slog.Attr) slog.Attr {
	if s, ok := a.Value.Any().(fmt.Stringer); ok && a.Value.Kind() != slog.KindTime {
		a.Value = slog.StringValue(s.String())
	}
	return a
}

// fail reports why the broker could not start or go on: as a line for people, or as a line of the
// log if programs read that.
func (o *logOptions) fail(err error, w io.Writer, log *slog.Logger) {
	if o.format == logJSON {
		log.Error("the broker has ended", "reason", err)
		return
	}
	fmt.Fprintln(w, "broker:", err)
}
