package oona

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Since returns a cursor before the entries that were added to streams at the
// given time, by the server's clock, or later: for a follower that begins with
// what is still current. What was deleted before is no [Gap] for it.
func (c *Client) Since(ctx context.Context, t time.Time, streams ...string) (Cursor, error) {
	pipe := c.rdb.Pipeline()
	cmds := make([]*redis.XInfoStreamCmd, len(streams))
	for i, s := range streams {
		cmds[i] = pipe.XInfoStream(ctx, s)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	cursor := make(Cursor, len(streams))
	for i, cmd := range cmds {
		info, err := cmd.Result()
		if err == nil {
			cursor[streams[i]], err = positionAt(t, info)
		}
		switch {
		case noSuchKey(err):
			cursor[streams[i]] = Position{}
		case err != nil:
			return nil, fmt.Errorf("oona: entries of %s since %v: %w", streams[i], t, err)
		}
	}
	return cursor, nil
}

// positionAt returns the place in a stream before what was added at t or later.
func positionAt(t time.Time, info *redis.XInfoStream) (Position, error) {
	last, err := ParseEntryID(cmp.Or(info.LastGeneratedID, "0-0"))
	if err != nil {
		return Position{}, err
	}
	first, err := ParseEntryID(cmp.Or(info.FirstEntry.ID, "0-0"))
	if err != nil {
		return Position{}, err
	}
	at := EntryID{Ms: uint64(max(1, t.UnixMilli()) - 1), Seq: ^uint64(0)}
	switch {
	case last.Compare(at) <= 0 || info.Length == 0:
		return Position{ID: last, Index: info.EntriesAdded}, nil // its end
	case first.Compare(at) <= 0:
		return Position{ID: at}, nil
	}
	// Before its first entry: the index says that what was deleted is known.
	if deleted := info.EntriesAdded - info.Length; deleted > 0 {
		return Position{ID: at, Index: deleted}, nil
	}
	return Position{}, nil
}
