package urza

import (
	"context"
	"fmt"
)

// Row is one row of the table blueprints, as it is stored.
type Row struct {
	BlueprintID  string // primary key
	Name         string
	Tier         string // name of the tier; its number as text in older rows
	ArtifactPath string // absolute, or relative to the working directory
	Metadata     string // JSON: the descriptor, and everything else under the key _urza
}

// Catalogue stores rows. Other processes may read and write the same rows at
// the same time. urzatest.TestCatalogue says in tests what these comments say
// in words.
//
// An error of a Catalogue other than that of its context, [ErrClosed] or one
// returned by a change function means that it is unavailable for now.
type Catalogue interface {
	// Version returns a number that has moved since the last call if rows may
	// have been changed by anything other than Update of this very value. It
	// may move without a change.
	Version(ctx context.Context) (uint64, error)

	// Row returns the row of a blueprint, and whether there is one.
	Row(ctx context.Context, blueprintID string) (Row, bool, error)

	// Page returns the rows that follow the blueprint id after, ascending by
	// the bytes of their ids: at most limit, at least one, none at the end.
	Page(ctx context.Context, after string, limit int) ([]Row, error)

	// Update replaces the row of a blueprint by what change returns for it,
	// in one transaction that no writer of any process comes between. Both
	// sides may be nil: no row. A change to equal rows, or from nil to nil,
	// writes nothing but still waits for writers under way.
	//
	// If change fails the row stays and its error is returned as it is. Where
	// a transaction has to be repeated change is called again, so it must
	// bear that. It must not use the catalogue. When Update returns nil the
	// change is on disk.
	Update(ctx context.Context, blueprintID string, change func(old *Row) (*Row, error)) error

	// Close releases the catalogue. Calls made later return ErrClosed.
	Close() error
}

func clone(row *Row) *Row {
	if row == nil {
		return nil
	}
	return new(*row)
}

func sameRow(a, b *Row) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// checkChange refuses a change that would write the row of another blueprint.
func checkChange(blueprintID string, now *Row) error {
	if now != nil && now.BlueprintID != blueprintID {
		return fmt.Errorf("urza: row %q cannot become row %q", blueprintID, now.BlueprintID)
	}
	return nil
}
