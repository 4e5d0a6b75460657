package urza

import (
	"context"
	"errors"
	"time"
)

const (
	// pageRows is how many rows a scan reads at once: the time for which a
	// writer of another process has to wait for it.
	pageRows = 512

	// readTimeout bounds the read of one row. A requester waits for it.
	readTimeout = 5 * time.Second
)

// restFactor keeps scans of a large catalogue that changes all the time to one
// part in so many of the time. Requests do not depend on them.
const restFactor = 10

// keepFresh looks for changes until ctx ends.
func (l *Library) keepFresh(ctx context.Context) {
	timer := time.NewTimer(l.cfg.RefreshInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		l.noteRefresh(ctx, l.scan(ctx))
		l.index.forget(time.Now())
		timer.Reset(max(l.cfg.RefreshInterval, restFactor*time.Since(start)))
	}
}

// noteRefresh logs when the catalogue goes away and when it comes back. In
// between the index serves what it last held.
func (l *Library) noteRefresh(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.refreshing.Lock()
	defer l.refreshing.Unlock()
	switch {
	case err != nil:
		l.count.errors.Add(1)
		if !l.down {
			l.log.Warn("catalogue cannot be read; serving what is known of it", "error", err)
		}
	case l.down:
		l.log.Info("catalogue can be read again")
	}
	l.down = err != nil
}

// Refresh brings the index up to date with what other processes wrote, as the
// library does by itself every [Config.RefreshInterval].
func (l *Library) Refresh(ctx context.Context) error { return l.scan(ctx) }

// scan reads all rows if the catalogue may have changed since the last scan. A
// change during the scan moves the version again, so the next scan finds it.
func (l *Library) scan(ctx context.Context) error {
	l.refreshing.Lock()
	defer l.refreshing.Unlock()
	version, err := l.catalogue.Version(ctx)
	if err != nil {
		return unavailable(err)
	}
	if l.scanned && version == l.version {
		return nil
	}
	began := l.index.ticket()
	for p := range l.pages(ctx) {
		if p.err != nil {
			return unavailable(p.err)
		}
		l.index.put(p.ticket, p.rows...)
	}
	l.index.sweep(began)
	l.version, l.scanned = version, true
	return nil
}

// page is a part of the catalogue, as it was after ticket, or why there is none.
type page struct {
	ticket uint64
	rows   []Row
	err    error
}

// pages reads all rows, one page ahead of whoever takes them in. An error is the
// last page. The channel has to be read to its end.
func (l *Library) pages(ctx context.Context) <-chan page {
	pages := make(chan page)
	go func() {
		defer close(pages)
		for after := ""; ; {
			p := page{ticket: l.index.ticket()}
			p.rows, p.err = l.catalogue.Page(ctx, after, pageRows)
			if p.err == nil && len(p.rows) == 0 {
				return
			}
			pages <- p
			if p.err != nil {
				return
			}
			after = p.rows[len(p.rows)-1].BlueprintID
		}
	}()
	return pages
}

// reread reads one row and brings the index up to date with it. It returns nil
// without an error where there is no such row. Whoever asks for the same row
// at the same time shares the read.
func (l *Library) reread(ctx context.Context, blueprintID string) (*item, error) {
	it, joined, err := l.reads.do(ctx, blueprintID, func() (*item, error) { return l.readRow(blueprintID) })
	if err == nil && it == nil && joined {
		// That read may have begun before the row was saved; the next one
		// begins after we were asked.
		it, _, err = l.reads.do(ctx, blueprintID, func() (*item, error) { return l.readRow(blueprintID) })
	}
	return it, err
}

func (l *Library) readRow(blueprintID string) (*item, error) {
	done, ok := l.breaker.allow()
	if !ok {
		return nil, unavailable(errBreakerOpen)
	}
	ctx, cancel := context.WithTimeout(l.ctx, readTimeout)
	defer cancel()
	start, ticket := time.Now(), l.index.ticket()
	row, found, err := l.catalogue.Row(ctx, blueprintID)
	took := time.Since(start)
	l.count.lookup.set(took)
	outcome := err
	if took > l.cfg.LookupObjective {
		l.count.slow.Add(1)
		outcome = errors.Join(err, errSlow)
	}
	done(outcome)
	if err != nil {
		l.count.errors.Add(1)
		return nil, unavailable(err)
	}
	if !found {
		l.index.drop(ticket, blueprintID)
		return nil, nil
	}
	l.index.put(ticket, row)
	return l.index.get(blueprintID), nil
}
