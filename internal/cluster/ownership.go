package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mbus/internal/store"
)

// Times of the ownership.
const (
	lookEvery    = 100 * time.Millisecond // the engine is asked whether this node leads
	leaveTime    = 3 * time.Second        // for connections to end in good order
	stepDownTime = 2 * time.Second        // for another node to lead in place of this one
	firstRetry   = 100 * time.Millisecond // the pause after a takeover that failed; it doubles
	lastRetry    = 2 * time.Second
)

// triesBeforeStepDown is how many takeovers in a row may fail before another node is to try: what fails may
// be this node's disk.
const triesBeforeStepDown = 4

// An Owned is the store of all topics, as its owner has it.
type Owned interface {
	store.Store
	// Lost is closed when another node has taken the topics over.
	Lost() <-chan struct{}
	// Epoch is the number of this takeover: higher than those of all before it.
	Epoch() uint64
}

// A Leadership is the part of the engine that ownership follows.
type Leadership interface {
	// Leads says, without waiting, whether this node should own the topics.
	Leads() bool
	// TakeOver makes this node the owner: all others can't write from then on.
	TakeOver(ctx context.Context) (Owned, error)
	// StepDown has another node lead: that one, or for 0 the best.
	StepDown(ctx context.Context, to int32) error
}

// A Service serves clients from the topics that this node owns: a broker and the servers of all ports.
type Service interface {
	// Leave takes no more clients, gives those there are until ctx ends, then cuts them off, writes what is to
	// be kept, and closes the store.
	Leave(ctx context.Context) error
}

// An ownership owns the topics while this node leads. One goroutine runs it, so that at no time two takeovers,
// or a takeover and the end of the one before, go on at once.
type ownership struct {
	engine  Leadership
	serve   func(Owned) (Service, error)  // closes the store if it fails
	changed func(s Service, epoch uint64) // s is nil when the service is about to end
	log     *slog.Logger

	failed int // takeovers in a row
}

// Why a node does not own the topics any more.
var (
	errNotLeading = errors.New("another node leads")
	errLost       = errors.New("another node has taken the topics over")
	errStopping   = errors.New("this node stops")
)

// run owns the topics whenever this node leads, until ctx ends. Then it hands over in good order.
func (o *ownership) run(ctx context.Context) {
	for o.awaitLead(ctx) {
		start := time.Now()
		owned, service, err := o.takeOver(ctx)
		if err != nil {
			o.rest(ctx, err)
			continue
		}
		o.failed = 0
		o.changed(service, owned.Epoch())
		o.log.Info("this node owns the topics", "epoch", owned.Epoch(), "topics", len(owned.Topics()), "after", time.Since(start).Round(time.Millisecond))
		why := o.hold(ctx, owned)
		o.changed(nil, 0)
		o.leave(service, why)
	}
	if o.engine.Leads() {
		o.stepDown()
	}
}

// awaitLead waits until this node leads, twice in a row, because right after an election there may be another. It
// reports false when ctx ends.
func (o *ownership) awaitLead(ctx context.Context) bool {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for led := false; ctx.Err() == nil; {
		leads := o.engine.Leads()
		if leads && led {
			return true
		}
		led = leads
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return false
}

// takeOver takes the topics over, and serves them. It gives up as soon as this node does not lead any more.
func (o *ownership) takeOver(ctx context.Context) (Owned, Service, error) {
	taking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(o.awaitLoss(taking, nil)) }()
	owned, err := o.engine.TakeOver(taking)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, nil, errStopping
	case taking.Err() != nil:
		return nil, nil, context.Cause(taking)
	default:
		return nil, nil, err
	}
	service, err := o.serve(owned)
	if err != nil {
		return nil, nil, fmt.Errorf("starting to serve: %w", err)
	}
	return owned, service, nil
}

// hold returns why this node must not own the topics any more, as soon as that is so.
func (o *ownership) hold(ctx context.Context, owned Owned) error {
	return o.awaitLoss(ctx, owned.Lost())
}

// awaitLoss waits until this node does not lead, lost is closed, or ctx ends, and says which.
func (o *ownership) awaitLoss(ctx context.Context, lost <-chan struct{}) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return errStopping
		case <-lost:
			return errLost
		case <-ticker.C:
			if !o.engine.Leads() {
				return errNotLeading
			}
		}
	}
}

// leave ends the service: in good order if this node still leads, else at once, because nothing that clients are
// told from then on would be true.
func (o *ownership) leave(service Service, why error) {
	o.log.Info("this node owns the topics no more", "reason", why)
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if why != errStopping {
		cancel()
	}
	start := time.Now()
	err := service.Leave(ctx)
	switch {
	case err != nil && why == errStopping:
		o.log.Warn("the topics were not left in good order: what was not written comes again to consumers", "reason", err)
	case err != nil:
		o.log.Debug("the topics have been left", "after", time.Since(start), "reason", err) // another node owns them
	}
}

// rest waits after a takeover that failed, the longer the more have. After some another node is to try.
func (o *ownership) rest(ctx context.Context, err error) {
	if errors.Is(err, errNotLeading) || errors.Is(err, errStopping) {
		o.failed = 0
		return
	}
	o.failed++
	pause := min(firstRetry<<(o.failed-1), lastRetry)
	o.log.Warn("the topics can't be taken over", "try", o.failed, "again after", pause, "reason", err)
	if o.failed >= triesBeforeStepDown {
		o.failed = 0
		o.stepDown()
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// stepDown has another node lead.
func (o *ownership) stepDown() {
	ctx, cancel := context.WithTimeout(context.Background(), stepDownTime)
	defer cancel()
	if err := o.engine.StepDown(ctx, 0); err != nil {
		o.log.Warn("no other node could be made to lead: the rest elect one when this one has stopped", "reason", err)
		return
	}
	o.log.Info("another node leads now")
}
