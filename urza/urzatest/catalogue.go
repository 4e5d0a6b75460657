package urzatest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/urza"
)

// TestCatalogue tests that a catalogue does what [urza.Catalogue] says. Each
// call of open returns two catalogues with the same rows, none yet, as two
// processes would have them. The test closes both.
func TestCatalogue(t *testing.T, open func(t *testing.T) (a, b urza.Catalogue)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a, b urza.Catalogue)
	}{
		{"Empty", testEmpty},
		{"RowsSurvive", testRowsSurvive},
		{"Delete", testDelete},
		{"ChangeFails", testChangeFails},
		{"ChangePanics", testChangePanics},
		{"ChangeOfAnotherRow", testChangeOfAnotherRow},
		{"Pages", testPages},
		{"VersionSeesOthers", testVersionSeesOthers},
		{"UpdatesDoNotInterleave", testUpdatesDoNotInterleave},
		{"ContextEnds", testContextEnds},
		{"Close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := open(t)
			t.Cleanup(func() {
				if err := errors.Join(a.Close(), b.Close()); err != nil {
					t.Error(err)
				}
			})
			test.run(t, a, b)
		})
	}
}

func row(id, metadata string) urza.Row {
	return urza.Row{BlueprintID: id, Name: "name of " + id, Tier: "BLUEPRINT_TIER_SAFE", ArtifactPath: "a/" + id, Metadata: metadata}
}

func put(t *testing.T, c urza.Catalogue, r urza.Row) {
	t.Helper()
	if err := c.Update(t.Context(), r.BlueprintID, func(*urza.Row) (*urza.Row, error) { return &r, nil }); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, c urza.Catalogue, id string) {
	t.Helper()
	if err := c.Update(t.Context(), id, func(*urza.Row) (*urza.Row, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
}

func version(t *testing.T, c urza.Catalogue) uint64 {
	t.Helper()
	v, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantRow(t *testing.T, c urza.Catalogue, id string, want *urza.Row) {
	t.Helper()
	got, found, err := c.Row(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if found != (want != nil) {
		t.Fatalf("row %q: found is %t", id, found)
	}
	if want != nil && got != *want {
		t.Errorf("row %q (-want +got):\n%s", id, cmp.Diff(*want, got))
	}
}

func wantIDs(t *testing.T, c urza.Catalogue, want ...string) {
	t.Helper()
	var got []string
	for after := ""; ; {
		rows, err := c.Page(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		if len(rows) > 2 {
			t.Fatalf("page of %d rows, the limit was 2", len(rows))
		}
		for _, r := range rows {
			got = append(got, r.BlueprintID)
		}
		after = rows[len(rows)-1].BlueprintID
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func testEmpty(t *testing.T, a, _ urza.Catalogue) {
	wantRow(t, a, "none", nil)
	wantIDs(t, a)
	remove(t, a, "none")
	wantIDs(t, a)
}

func testRowsSurvive(t *testing.T, a, b urza.Catalogue) {
	rows := []urza.Row{
		row("plain", `{}`),
		row(`quote ' " ; --`, `{"a":"\u0000"}`),
		row("ünïcode ⌱ \U0001F600", "{\"text\": \"ä\\n\"}\n"),
		row("100%_?", ""),
		row("large", `"`+strings.Repeat("x", 1<<20)+`"`),
		{BlueprintID: "bare"},
	}
	for i, r := range rows {
		put(t, []urza.Catalogue{a, b}[i%2], r)
	}
	for _, r := range rows {
		wantRow(t, a, r.BlueprintID, &r)
		wantRow(t, b, r.BlueprintID, &r)
	}
	changed := row("plain", `{"changed":true}`)
	changed.Tier, changed.ArtifactPath, changed.Name = "2", "elsewhere", ""
	put(t, a, changed)
	wantRow(t, b, "plain", &changed)
}

func testDelete(t *testing.T, a, b urza.Catalogue) {
	one, two := row("one", "1"), row("two", "2")
	put(t, a, one)
	put(t, a, two)
	remove(t, b, "one")
	wantRow(t, a, "one", nil)
	wantRow(t, a, "two", &two)
	wantIDs(t, a, "two")
	put(t, a, one)
	wantIDs(t, b, "one", "two")
}

func testChangeFails(t *testing.T, a, b urza.Catalogue) {
	before := row("id", "before")
	put(t, b, before)
	refused := errors.New("refused")
	err := a.Update(t.Context(), "id", func(old *urza.Row) (*urza.Row, error) {
		if old == nil || *old != before {
			t.Errorf("change got %v", old)
			return old, refused
		}
		old.Metadata = "after" // ours to write to, but not kept
		return old, refused
	})
	if err != refused {
		t.Errorf("got error %v, want the one of the change as it is", err)
	}
	wantRow(t, a, "id", &before)
	wantRow(t, b, "id", &before)
	put(t, a, row("id", "after")) // nothing stays locked
}

func testChangePanics(t *testing.T, a, b urza.Catalogue) {
	before := row("id", "before")
	put(t, a, before)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		a.Update(t.Context(), "id", func(*urza.Row) (*urza.Row, error) { panic("on purpose") })
	}()
	wantRow(t, a, "id", &before)
	put(t, b, row("id", "by b"))
	put(t, a, row("id", "by a"))
}

func testChangeOfAnotherRow(t *testing.T, a, _ urza.Catalogue) {
	put(t, a, row("one", "1"))
	other := row("two", "2")
	if err := a.Update(t.Context(), "one", func(*urza.Row) (*urza.Row, error) { return &other, nil }); err == nil {
		t.Error("an update of one row wrote another")
	}
	wantIDs(t, a, "one")
}

func testPages(t *testing.T, a, b urza.Catalogue) {
	ids := []string{"Z", "a", "A", "aa", "a b", "ä", "é", "0", "10", "9", "\U0001F600", "~"}
	for _, id := range ids {
		put(t, a, row(id, id))
	}
	slices.Sort(ids)
	wantIDs(t, a, ids...)
	wantIDs(t, b, ids...)
	rows, err := b.Page(t.Context(), "a", 100)
	if err != nil {
		t.Fatal(err)
	}
	if rows[0] != row("a b", "a b") {
		t.Errorf("first row after %q: %v", "a", rows[0])
	}
}

func testVersionSeesOthers(t *testing.T, a, b urza.Catalogue) {
	last := version(t, a)
	moved := func(what string) {
		t.Helper()
		now := version(t, a)
		if now == last {
			t.Errorf("%s did not move the version", what)
		}
		last = now
	}
	put(t, b, row("id", "1"))
	moved("a new row")
	put(t, b, row("id", "2"))
	moved("a changed row")
	put(t, a, row("own", "1"))
	last = version(t, a) // may have moved
	put(t, a, row("own", "2"))
	put(t, b, row("id", "3"))
	moved("a row changed after a write of our own")
	put(t, b, row("id", "4"))
	put(t, a, row("own", "3"))
	moved("a row changed before a write of our own")
	remove(t, b, "id")
	moved("a deleted row")
}

func testUpdatesDoNotInterleave(t *testing.T, a, b urza.Catalogue) {
	const writers, writes = 4, 25
	put(t, a, row("counter", "0"))
	var wg sync.WaitGroup
	for i := range writers {
		c := []urza.Catalogue{a, b}[i%2]
		wg.Go(func() {
			for range writes {
				err := c.Update(t.Context(), "counter", func(old *urza.Row) (*urza.Row, error) {
					n, err := strconv.Atoi(old.Metadata)
					old.Metadata = strconv.Itoa(n + 1)
					return old, err
				})
				if err != nil {
					t.Error(err)
				}
				if _, _, err := c.Row(t.Context(), "counter"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := row("counter", strconv.Itoa(writers*writes))
	wantRow(t, a, "counter", &want)
}

func testContextEnds(t *testing.T, a, _ urza.Catalogue) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, versionErr := a.Version(ctx)
	_, _, rowErr := a.Row(ctx, "id")
	_, pageErr := a.Page(ctx, "", 1)
	updateErr := a.Update(ctx, "id", func(*urza.Row) (*urza.Row, error) {
		t.Error("change was called")
		return nil, nil
	})
	for i, err := range []error{versionErr, rowErr, pageErr, updateErr} {
		if !errors.Is(err, cause) {
			t.Errorf("call %d: got %v, want the cause of the context", i, err)
		}
	}
}

func testClose(t *testing.T, a, b urza.Catalogue) {
	one := row("one", "1")
	put(t, a, one)
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	_, versionErr := a.Version(t.Context())
	_, _, rowErr := a.Row(t.Context(), "id")
	_, pageErr := a.Page(t.Context(), "", 1)
	updateErr := a.Update(t.Context(), "id", func(*urza.Row) (*urza.Row, error) { return nil, nil })
	for i, err := range []error{versionErr, rowErr, pageErr, updateErr} {
		if !errors.Is(err, urza.ErrClosed) {
			t.Errorf("call %d: got %v, want ErrClosed", i, err)
		}
	}
	wantRow(t, b, "one", &one)
}
