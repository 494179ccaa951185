package main

import (
	"fmt"
	"os"

	"mbus/internal/cluster/clusterkey"
)

// newKey is the command new-key. A file that the shell has made for its output is closed to other users first: the broker
// takes no other one.
func (c *call) newKey() error {
	if f, ok := c.out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			if err := f.Chmod(0o600); err != nil {
				return err
			}
		}
	}
	key := clusterkey.New()
	if _, err := fmt.Fprintln(c.out, key.Line()); err != nil {
		return err
	}
	fmt.Fprintf(c.notes, "admin: this is %v; each node of the cluster takes a copy of the file with -cluster-key, and who has it may do everything\n", *key)
	return nil
}
