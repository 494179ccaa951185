package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// startingPatience bounds the time of the last answers of ServeStarting, which are short.
const startingPatience = time.Second

// ServeStarting answers health checks while the broker recovers, and refuses all other requests, so that whatever
// watches over the process does not take a long recovery for its death. stop leaves the listener for a Server,
// and lets the answers under way end in the background.
func ServeStarting(l net.Listener, limits broker.Limits, version string) (stop func()) {
	borrowed, giveBack := tcpserver.Borrow(l)
	if borrowed == nil {
		return func() {} // clients wait
	}
	s := &http.Server{
		Handler: starting(version), ReadHeaderTimeout: limits.HTTPHeaderTime, ReadTimeout: limits.HTTPHeaderTime, WriteTimeout: limits.HTTPHeaderTime,
		MaxHeaderBytes: broker.HTTPHeader, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	s.SetKeepAlivesEnabled(false)
	go s.Serve(borrowed) // the error is that it is given back
	return func() {
		giveBack()
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), startingPatience)
			defer cancel()
			if s.Shutdown(ctx) != nil {
				s.Close()
			}
		}()
	}
}

const recovering = "The broker reads its data directory after a start, and serves when that is done."

// starting answers requests of the time before recovery is done.
func starting(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		setPolicies(w.Header())
		c := &call{w: &writer{ResponseWriter: w}, r: r}
		switch r.URL.Path {
		case "/livez":
			_ = alive(c) // an error is that the client has gone
		case "/healthz":
			_ = c.json(http.StatusServiceUnavailable, healthReport{
				Status: statusFailed, Version: version, Checks: []checkResult{{broker.CheckRecovery, statusFailed, recovering}},
			})
		default:
			(&problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: recovering}).write(w)
		}
	}
}
