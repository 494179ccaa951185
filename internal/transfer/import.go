package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// A Cluster is the part of a cluster that an import uses.
type Cluster interface {
	Catalog
	// Own makes this node the owner of all topics, and gives their store, which the import closes. It waits for
	// that as long as ctx lets it.
	Own(ctx context.Context) (store.Restorer, error)
	// MaxBatch is the size of the largest batch that it takes, in bytes.
	MaxBatch() int
}

// A Catalog keeps the state of an import, durably on a majority.
type Catalog interface {
	// Get returns the state and its revision, 0 if there is none.
	Get(ctx context.Context) (state []byte, revision uint64, err error)
	// Set writes it if it has the revision still.
	Set(ctx context.Context, state []byte, revision uint64) error
}

// A state is what the catalog has of an import.
type state struct {
	From   string     `json:"from"` // the directory, on the node
	Node   int32      `json:"node"`
	Sum    string     `json:"sum"` // of the survey
	Begun  time.Time  `json:"begun"`
	Done   *time.Time `json:"done,omitempty"`
	Totals Totals     `json:"totals"` // of what is to be there
}

// ErrImporting says that a cluster has a part of what is to be imported: nothing may be served from it.
var ErrImporting = errors.New("an import is not done")

// MayServe returns ErrImporting, with what to do, while an import is not done.
func MayServe(ctx context.Context, c Catalog) error {
	s, _, err := load(ctx, c)
	if err == nil && s != nil && s.Done == nil {
		err = fmt.Errorf("%w, which node %d has begun of %q: start that node with -import %[3]q and the cluster goes on with it; or stop all nodes, remove their data directories, and begin anew",
			ErrImporting, s.Node, s.From)
	}
	return err
}

func load(ctx context.Context, c Catalog) (s *state, revision uint64, err error) {
	p, revision, err := c.Get(ctx)
	if err != nil || revision == 0 {
		return nil, 0, err
	}
	s = new(state)
	if err := json.Unmarshal(p, s); err != nil {
		return nil, 0, fmt.Errorf("the catalog's entry about an import: %w", err)
	}
	return s, revision, nil
}

func (s *state) save(ctx context.Context, c Catalog, revision uint64) error {
	p, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return c.Set(ctx, p, revision)
}

// tries is how often an import begins again that has lost the ownership of the topics.
const tries = 10

// An importer copies a data directory into a cluster.
type importer struct {
	cluster Cluster
	dir     string
	log     *slog.Logger
	survey  Survey
	state   state
	begun   bool // the catalog has the state
}

// Import copies a data directory into a new cluster, on which nothing is served meanwhile. It goes on where an earlier
// attempt has ended, and does nothing if it was done before.
func Import(ctx context.Context, c Cluster, node int32, dir string, log *slog.Logger) error {
	known, _, err := load(ctx, c)
	if err != nil {
		return err
	}
	if known != nil && known.Done != nil {
		log.Info("the import was done before", "from", known.From, "done", known.Done.Format(time.RFC3339), "topics", known.Totals.Topics)
		return nil
	}
	m := &importer{cluster: c, dir: dir, log: log, begun: known != nil}
	if err := m.look(); err != nil {
		return err
	}
	m.state = state{From: dir, Node: node, Sum: m.survey.Sum(), Begun: time.Now().UTC().Truncate(time.Second), Totals: m.survey.totals()}
	if known != nil {
		if known.Sum != m.state.Sum {
			return fmt.Errorf("%q has not the messages and topics of %q, of which an import was begun: give that directory as it was; or stop all nodes, remove their data directories, and begin anew", dir, known.From)
		}
		m.state.Begun = known.Begun
	}
	for try := 1; ; try++ {
		err = m.attempt(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, store.ErrMoved) || try == tries {
			break
		}
		log.Info("the import goes on, because another node has owned the topics for a moment", "try", try, "reason", err)
	}
	if err != nil {
		return fmt.Errorf("importing %q: %w", dir, err)
	}
	return m.finish(ctx)
}

// look reads the directory, and says why it can't be imported.
func (m *importer) look() (err error) {
	m.log.Info("reading what is to be imported", "from", m.dir)
	var first commitlog.Finding
	m.survey, err = Look(m.dir, func(f commitlog.Finding) {
		if first.Reason == nil && !f.Harmless {
			first = f
		}
	})
	largest := m.cluster.MaxBatch()
	switch {
	case err != nil:
		return err
	case m.survey.Verified.Damaged > 0:
		return fmt.Errorf("%q is damaged in %d places, and a cluster would have no place for what is missing: broker -verify lists them. The first is: %v", m.dir, m.survey.Verified.Damaged, first)
	case m.survey.Largest > largest:
		return fmt.Errorf("%q has a batch of %d bytes, and a cluster takes %d bytes at most", m.dir, m.survey.Largest, largest)
	}
	return nil
}

// totals are what an import copies.
func (s *Survey) totals() Totals {
	sums := Totals{Topics: len(s.Topics)}
	for _, t := range s.Topics {
		sums.Partitions += len(t.Logs)
		for _, l := range t.Logs {
			sums.Records, sums.Bytes = sums.Records+l.End-l.Start, sums.Bytes+l.Bytes
		}
	}
	return sums
}

// attempt owns the topics and copies what is not there yet. The error is store.ErrMoved if another node owns them now.
func (m *importer) attempt(ctx context.Context) (err error) {
	to, err := m.cluster.Own(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for _, t := range to.Topics() {
		if !m.begun {
			return fmt.Errorf("the cluster is not new: it has topic %q", t.Name)
		}
		if !slices.ContainsFunc(m.survey.Topics, func(of Topic) bool { return of.ID == t.ID }) {
			return fmt.Errorf("the cluster has topic %q, which is not from there: stop all nodes, remove their data directories, and begin anew", t.Name)
		}
	}
	if !m.begun {
		if err := m.state.save(ctx, m.cluster, 0); err != nil {
			return err
		}
		m.begun = true
	}
	return m.copy(ctx, to)
}

// sayEvery is the time between two lines about the progress.
const sayEvery = 10 * time.Second

// copy copies all topics, one after the other.
func (m *importer) copy(ctx context.Context, to store.Restorer) error {
	w, next := newWriter(to), 0
	said := time.Now()
	advance := func(until func(*Topic) bool) error { // to a topic; those before it have no more batches
		for ; next < len(m.survey.Topics); next++ {
			t := &m.survey.Topics[next]
			if w.topic.ID != t.ID {
				if err := w.end(); err != nil {
					return err
				}
				if err := w.begin(*t); err != nil {
					return err
				}
			}
			if until(t) {
				return nil
			}
		}
		return w.end()
	}
	look := commitlog.Observer{Each: func(b commitlog.Stored) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b.Topic.ID != w.topic.ID {
			if err := advance(func(t *Topic) bool { return t.ID == b.Topic.ID }); err != nil {
				return err
			}
		}
		if time.Since(said) > sayEvery {
			said = time.Now()
			m.log.Info("importing", "topic", b.Topic.Name, "topics", w.sums.Topics, "of", m.state.Totals.Topics, "bytes", w.bytes, "ofBytes", m.state.Totals.Bytes)
		}
		return w.add(b.Partition, b.Batch, b.Appended)
	}}
	if _, err := commitlog.VerifyAnd(m.dir, commitlog.Options{}, look, func(commitlog.Finding) {}); err != nil {
		return err
	}
	if err := advance(func(*Topic) bool { return false }); err != nil {
		return err
	}
	if w.sums != m.state.Totals {
		return fmt.Errorf("%q has changed: it had %+v, and has %+v", m.dir, m.state.Totals, w.sums)
	}
	if len(m.survey.Note) == 0 {
		return nil
	}
	return to.KeepNote(m.survey.Note)
}

// finish notes that all is there.
func (m *importer) finish(ctx context.Context) error {
	_, revision, err := load(ctx, m.cluster)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	m.state.Done = &now
	if err := m.state.save(ctx, m.cluster, revision); err != nil {
		return err
	}
	t := m.state.Totals
	m.log.Info("the import is done", "from", m.dir, "topics", t.Topics, "partitions", t.Partitions, "records", t.Records, "bytes", t.Bytes)
	return nil
}
