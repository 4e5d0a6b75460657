package urza_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// counted counts the calls of a catalogue.
type counted struct {
	urza.Catalogue
	calls atomic.Int64
}

func (c *counted) Version(ctx context.Context) (uint64, error) {
	c.calls.Add(1)
	return c.Catalogue.Version(ctx)
}

func (c *counted) Row(ctx context.Context, id string) (urza.Row, bool, error) {
	c.calls.Add(1)
	return c.Catalogue.Row(ctx, id)
}

func (c *counted) Page(ctx context.Context, after string, limit int) ([]urza.Row, error) {
	c.calls.Add(1)
	return c.Catalogue.Page(ctx, after, limit)
}

func (c *counted) Update(ctx context.Context, id string, change func(*urza.Row) (*urza.Row, error)) error {
	c.calls.Add(1)
	return c.Catalogue.Update(ctx, id, change)
}

// A hit costs no SQL, and a lookup no memory either.
func TestHitCostsNoSQL(t *testing.T) {
	dir := t.TempDir()
	sqlite := openSQLite(t, filepath.Join(dir, "catalog.db"))
	catalogue := &counted{Catalogue: sqlite}
	l := open(t, urza.Config{WorkDir: dir, Catalogue: catalogue, RefreshInterval: 24 * time.Hour})
	add(t, l, "BP", "content")
	before := catalogue.calls.Load()
	for range 100 {
		if _, ok := l.Lookup("BP"); !ok {
			t.Fatal("lookup: missing")
		}
		if _, err := l.Resolve(t.Context(), "BP"); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, l, "BP"); got != "ready" {
			t.Fatal(got)
		}
		if !l.AnswerKnown(&leylinepb.KernelPrefetchRequest{RequestId: "r", BlueprintId: "BP"}, &leylinepb.KernelArtifactReady{}) {
			t.Fatal("not known")
		}
	}
	if calls := catalogue.calls.Load() - before; calls != 0 {
		t.Errorf("400 hits made %d calls of the catalogue", calls)
	}
	if n := testing.AllocsPerRun(100, func() { l.Lookup("BP") }); n != 0 {
		t.Errorf("a lookup makes %v allocations", n)
	}
	ask(t, l, "NONE")
	if calls := catalogue.calls.Load() - before; calls != 1 {
		t.Errorf("a miss makes %d calls of the catalogue, want 1", calls)
	}
}
