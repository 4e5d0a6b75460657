package urza

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Query says which records [Library.List] returns: those that meet all of it.
// The zero Query returns every record.
type Query struct {
	Tier       *leylinepb.BlueprintTier // nil: any
	Stage      *uint32                  // nil: any
	Tag        string                   // compared without case; empty: any
	NamePrefix string                   // compared with case; empty: any
}

func (q *Query) matches(e *Entry) bool {
	return (q.Tier == nil || *q.Tier == e.Tier) &&
		(q.Stage == nil || *q.Stage == e.Stage) &&
		(q.Tag == "" || slices.ContainsFunc(e.Tags, func(tag string) bool { return strings.EqualFold(tag, q.Tag) })) &&
		strings.HasPrefix(e.Name, q.NamePrefix)
}

// List returns the records that q asks for, ascending by blueprint id. It reads
// the index only, which takes time in proportion to its size.
func (l *Library) List(q Query) []Entry {
	var entries []Entry
	for _, it := range l.index.all() {
		if q.matches(&it.entry) {
			entries = append(entries, it.entry)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.BlueprintID, b.BlueprintID) })
	return entries
}

// Record reads the whole record of a blueprint from the catalogue.
//
// Errors: [ErrNotFound], [ErrMalformed], [ErrUnavailable], [ErrClosed].
func (l *Library) Record(ctx context.Context, blueprintID string) (*Record, error) {
	row, found, err := l.catalogue.Row(ctx, blueprintID)
	if err != nil {
		if ctx.Err() == nil {
			err = unavailable(err)
		}
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, blueprintID)
	}
	return decodeRow(row)
}
