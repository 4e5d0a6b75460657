package oona

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Position is a place in a stream: behind the entry ID. The zero Position is
// before every entry.
type Position struct {
	ID EntryID `json:"id"`
	// Index is how many entries had ever been added to the stream up to and
	// with this one; 0 where that is not known. With it a follower can tell
	// entries that were deleted unseen from those that it saw.
	Index int64 `json:"index,omitempty"`
}

// after moves past one entry.
func (p Position) after(id EntryID) Position {
	if p.Index > 0 || p.ID.IsZero() {
		p.Index++
	}
	p.ID = id
	return p
}

// Cursor says how far each stream was followed.
type Cursor map[string]Position

// Gap is a part of a stream that a follower may not have seen because it was
// deleted first, by trimming.
type Gap struct {
	Stream string
	After  Position
	// Next is the first entry that is left; zero when none is.
	Next EntryID
	// Entries is how many are missing; 0 where that is not known.
	Entries int64
}

// Tail returns a cursor at the present ends of streams: what is published after
// it returned is behind it. A stream that does not exist yet has its end at the
// start.
func (c *Client) Tail(ctx context.Context, streams ...string) (Cursor, error) {
	pipe := c.rdb.Pipeline()
	cmds := make([]*redis.XInfoStreamCmd, len(streams))
	for i, s := range streams {
		cmds[i] = pipe.XInfoStream(ctx, s)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	cursor := make(Cursor, len(streams))
	for i, cmd := range cmds {
		info, err := cmd.Result()
		switch {
		case err == nil:
			id, err := ParseEntryID(cmp.Or(info.LastGeneratedID, "0-0"))
			if err != nil {
				return nil, err
			}
			cursor[streams[i]] = Position{ID: id, Index: info.EntriesAdded}
		case noSuchKey(err):
			cursor[streams[i]] = Position{}
		default:
			return nil, fmt.Errorf("oona: end of %s: %w", streams[i], err)
		}
	}
	return cursor, nil
}

// findGaps looks for entries that were deleted unseen, where that is due, and at
// the server's clock.
func (r *follower) findGaps(ctx context.Context) error {
	if time.Now().Before(r.checkGaps) {
		return nil
	}
	pipe := r.client.rdb.Pipeline()
	clock := pipe.Time(ctx)
	infos := make([]*redis.XInfoStreamCmd, len(r.streams))
	for i, s := range r.streams {
		infos[i] = pipe.XInfoStream(ctx, s)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	now, err := clock.Result()
	if err != nil {
		return fmt.Errorf("oona: follow: %w", err)
	}
	r.client.clock.set(now)
	for i, s := range r.streams {
		info, err := infos[i].Result()
		switch {
		case err == nil:
			err = r.findGap(ctx, s, info)
		case noSuchKey(err):
			err = nil
		}
		if err != nil {
			return fmt.Errorf("oona: follow %s: %w", s, err)
		}
		if r.seen[s].After(now) {
			delete(r.seen, s) // the clock was put back
		}
	}
	r.checkGaps = time.Now().Add(gapInterval)
	return nil
}

// findGap compares the cursor with what is left of the stream, by the number of
// entries that were ever added to it.
func (r *follower) findGap(ctx context.Context, stream string, info *redis.XInfoStream) error {
	first, errFirst := ParseEntryID(cmp.Or(info.FirstEntry.ID, "0-0"))
	last, errLast := ParseEntryID(cmp.Or(info.LastGeneratedID, "0-0"))
	if err := cmp.Or(errFirst, errLast); err != nil {
		return err
	}
	at := r.cursor[stream]
	known := at.Index > 0 || at.ID.IsZero()
	before := int64(-1) // how many entries were added up to where the cursor stands
	switch {
	case last.Compare(at.ID) < 0:
		// The stream was made anew: everything in it is new.
		r.report(ctx, Gap{Stream: stream, After: at, Next: first})
		r.cursor[stream] = Position{}
		return nil
	case info.EntriesAdded == 0: // nobody counts
	case last == at.ID:
		before = info.EntriesAdded
	case first.Compare(at.ID) > 0 || first.IsZero():
		// Trimming deletes from the front, and all that is left is behind us.
		before = info.EntriesAdded - info.Length
		if !known {
			r.report(ctx, Gap{Stream: stream, After: at, Next: first})
		}
	}
	if before < 0 {
		return nil
	}
	if known && before > at.Index {
		r.report(ctx, Gap{Stream: stream, After: at, Next: first, Entries: before - at.Index})
	}
	at.Index = before
	r.cursor[stream] = at
	return nil
}

func (r *follower) report(ctx context.Context, g Gap) {
	r.client.stats.gapTotal.Add(1)
	r.client.log.ErrorContext(ctx, "entries were deleted from the stream before they were followed",
		"stream", g.Stream, "after", g.After.ID.String(), "next", g.Next.String(), "entries", g.Entries)
	if r.f.OnGap != nil {
		r.f.OnGap(g)
	}
}
