package jetstream

import (
	"context"
	"fmt"
	"time"
)

// Ready waits until the streams of the catalog and of the internal logs are there and answer. It makes
// them where they are not.
func (e *Engine) Ready(ctx context.Context) error {
	for _, s := range []struct{ name, subjects string }{{metaStream, metaSubjects}, {shardStream, shardSubjects}} {
		for {
			_, err := e.streamInfo(ctx, s.name)
			if isCode(err, codeStreamNotFound) {
				err = e.makeInternal(ctx, s.name, s.subjects)
			}
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the cluster is not ready: %w", err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// makeInternal makes the stream of the catalog or that of the internal logs.
func (e *Engine) makeInternal(ctx context.Context, name, subjects string) error {
	c := streamConfig(name, e.o.Replicas, subjects)
	if name == metaStream {
		c.MaxMsgsPer = 1 // only the last message of a key counts
	}
	_, err := e.createStream(ctx, c)
	return err
}
