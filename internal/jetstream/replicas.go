package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// replicasTime is between two looks whether streams lack replicas.
const replicasTime = 5 * time.Second

// keepReplicas gives the streams that this node leads the replicas that they lack, until Stop: where
// Options.Replicas has been raised, or too few nodes were up when a stream was made. Replicas are never
// taken away. One stream of a node gets them at a time.
func (e *Engine) keepReplicas() {
	for e.ctx.Err() == nil {
		if len(e.o.Peers) > 0 {
			e.addReplicas(e.ctx)
		}
		pause(e.ctx, replicasTime)
	}
}

// addReplicas looks once.
func (e *Engine) addReplicas(ctx context.Context) {
	s := e.server.Load()
	for _, d := range s.streams() {
		if d.Cluster.Leader != s.Name() || d.Config == nil || d.Config.Replicas >= e.o.Replicas {
			continue
		}
		c := *d.Config
		c.Replicas = e.o.Replicas
		if err := e.updateStream(ctx, c); err != nil {
			e.log.Info("a stream lacks replicas", "stream", d.Name, "has", d.Config.Replicas, "is to have", c.Replicas, "reason", err)
			return // the others would get none either
		}
	}
}

func (s *streams) updateStream(ctx context.Context, c server.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 2*makeTime)
	defer cancel()
	var a server.JSApiStreamUpdateResponse
	if err := s.api(ctx, fmt.Sprintf(server.JSApiStreamUpdateT, c.Name), c, &a, &a.ApiResponse, makeTime); err != nil {
		return err
	}
	return nil
}
