package urza

import (
	"context"
	"sync"
)

// flights runs one function per key at a time; whoever asks meanwhile waits
// for that one. At most as many run as there are keys. The zero value is ready
// to use.
type flights[V any] struct {
	mu     sync.Mutex // guards what follows
	flying map[string]*flight[V]
	closed bool
	wg     sync.WaitGroup
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// do returns what run returns, and whether somebody else had started it before.
// It stops waiting when ctx ends; run goes on for the others, and for whoever
// asks next.
func (f *flights[V]) do(ctx context.Context, key string, run func() (V, error)) (value V, joined bool, err error) {
	fl, joined, err := f.join(key, run)
	if err != nil {
		return value, false, err
	}
	select {
	case <-fl.done:
		return fl.value, joined, fl.err
	case <-ctx.Done():
		return value, joined, context.Cause(ctx)
	}
}

func (f *flights[V]) join(key string, run func() (V, error)) (fl *flight[V], joined bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, ErrClosed
	}
	if fl, ok := f.flying[key]; ok {
		return fl, true, nil
	}
	if f.flying == nil {
		f.flying = map[string]*flight[V]{}
	}
	fl = &flight[V]{done: make(chan struct{}), err: ErrClosed}
	f.flying[key] = fl
	f.wg.Go(func() {
		defer func() { // even if run panics nobody waits for ever
			f.mu.Lock()
			delete(f.flying, key)
			f.mu.Unlock()
			close(fl.done)
		}()
		fl.value, fl.err = run()
	})
	return fl, false, nil
}

// close refuses new functions and waits for those that run.
func (f *flights[V]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
}
