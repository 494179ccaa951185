package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// The forms of the log.
const (
	logText = "text"
	logJSON = "json"
)

// newLog is the log that the flags ask for.
func (o *options) newLog(w io.Writer) *slog.Logger {
	handler := &slog.HandlerOptions{Level: o.logLevel}
	if o.logFormat == logJSON {
		handler.ReplaceAttr = asText
		return slog.New(slog.NewJSONHandler(w, handler))
	}
	return slog.New(slog.NewTextHandler(w, handler))
}

// asText has JSON show addresses and durations as the text form shows them.
func asText(_ []string, a slog.Attr) slog.Attr {
	if s, ok := a.Value.Any().(fmt.Stringer); ok && a.Value.Kind() != slog.KindTime {
		a.Value = slog.StringValue(s.String())
	}
	return a
}

func (o *options) setLogLevel(value string) error {
	switch value {
	case "debug", "info", "warn", "error":
		return o.logLevel.UnmarshalText([]byte(strings.ToUpper(value)))
	}
	return errors.New("it takes debug, info, warn or error")
}

func (o *options) setLogFormat(value string) error {
	if value != logText && value != logJSON {
		return errors.New("it takes text or json")
	}
	o.logFormat = value
	return nil
}

// fail says why the broker could not start, or go on: in a line for people, or, where
// programs read the log, in a line of that.
func (o *options) fail(err error, w io.Writer, log *slog.Logger) {
	if o.logFormat == logJSON {
		log.Error("the broker has ended", "reason", err)
		return
	}
	fmt.Fprintln(w, "broker:", err)
}
