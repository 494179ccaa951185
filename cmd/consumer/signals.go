package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals returns a context that ends with the first SIGINT or SIGTERM. A second
// one ends the program, or, while it has commands to run, the context kill; then
// it takes a third.
func signals(commands bool) (stop, kill context.Context) {
	stop, first := context.WithCancel(context.Background())
	kill, second := context.WithCancel(context.Background())
	// A pipe without a reader is an error of a write, after which what was done is
	// acknowledged: it must not end the program as it ends others.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-c
		if !commands {
			signal.Reset(syscall.SIGINT, syscall.SIGTERM)
		}
		first()
		<-c
		signal.Reset(syscall.SIGINT, syscall.SIGTERM)
		second()
	}()
	return stop, kill
}
