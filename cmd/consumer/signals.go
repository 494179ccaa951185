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
