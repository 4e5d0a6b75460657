package urza

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Library is a catalogue with its artifacts. Open makes one.
type Library struct {
	cfg       Config
	log       *slog.Logger
	catalogue Catalogue
	store     *store
	index     index
	breaker   *breaker
	count     counters

	ctx   context.Context // ends with Close; for work that outlives one caller
	stop  context.CancelCauseFunc
	watch sync.WaitGroup

	writing sync.Mutex // held from a write to the catalogue until the index has it
	reads   flights[*item]
	hashes  flights[*proof]
	hashing chan struct{} // a place for every large artifact that is hashed at once

	pendingPaths    []string
	pendingReported atomic.Int64 // Unix nanoseconds of the last event about a pending save

	refreshing sync.Mutex // guards what follows
	version    uint64     // of the catalogue, as of the last full scan
	scanned    bool
	down       bool // the last look at the catalogue failed
}

// Open opens the library that cfg describes, makes what is missing of it,
// applies a save that the Python side left unfinished, and reads the whole
// catalogue once.
func Open(ctx context.Context, cfg Config) (*Library, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	store, err := openStore(cfg)
	if err != nil {
		return nil, err
	}
	catalogue, err := openCatalogue(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, store.close())
	}
	l := &Library{
		cfg:          cfg,
		log:          cfg.Logger,
		catalogue:    catalogue,
		store:        store,
		breaker:      newBreaker(),
		pendingPaths: pendingPaths(cfg, store.top),
		hashing:      make(chan struct{}, concurrentHashes()),
	}
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("urza: open: %w", err), l.Close())
	}
	return l, nil
}

func openCatalogue(ctx context.Context, cfg Config) (Catalogue, error) {
	if cfg.Catalogue != nil {
		return cfg.Catalogue, nil
	}
	path, err := databasePath(cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return NewMemory(), nil
	}
	return OpenSQLite(ctx, cfg.absolute(path), cfg.BusyTimeout)
}

func (l *Library) start(ctx context.Context) error {
	l.takePending(ctx)
	if err := l.scan(ctx); err != nil {
		return err
	}
	l.watch.Go(func() { l.keepFresh(l.ctx) })
	return nil
}

// Close ends what runs in the background and closes the catalogue. Calls under
// way are let finish, except that waits for a hash or a catalogue read end with
// ErrClosed. Calls made later fail or find what the index last held.
func (l *Library) Close() error {
	l.stop(ErrClosed)
	l.watch.Wait()
	l.reads.close()
	l.hashes.close()
	l.writing.Lock() // a write under way owns files that it has yet to name
	defer l.writing.Unlock()
	return errors.Join(l.catalogue.Close(), l.store.close())
}

// Root returns the library root: no artifact is served from outside it.
func (l *Library) Root() string { return l.store.top }
