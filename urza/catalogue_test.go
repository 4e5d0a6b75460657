package urza_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/urza/urzatest"
)

func TestMemoryCatalogue(t *testing.T) {
	urzatest.TestCatalogue(t, func(*testing.T) (a, b urza.Catalogue) {
		m := urza.NewMemory()
		return m, m.Peer()
	})
}

func TestSQLiteCatalogue(t *testing.T) {
	urzatest.TestCatalogue(t, func(t *testing.T) (a, b urza.Catalogue) {
		path := filepath.Join(t.TempDir(), "odd ?#%41 name", "catalog.db")
		return openSQLite(t, path), openSQLite(t, path)
	})
}

func openSQLite(t testing.TB, path string) *urza.SQLite {
	t.Helper()
	c, err := urza.OpenSQLite(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t testing.TB, c urza.Catalogue, r urza.Row) {
	t.Helper()
	if err := c.Update(t.Context(), r.BlueprintID, func(*urza.Row) (*urza.Row, error) { return &r, nil }); err != nil {
		t.Fatal(err)
	}
}

func versionOf(t testing.TB, c urza.Catalogue) uint64 {
	t.Helper()
	v, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func hasRow(t testing.TB, c urza.Catalogue, id string) bool {
	t.Helper()
	_, found, err := c.Row(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Own writes must not move the version: each would cost a scan of all rows.
func TestOwnWritesDoNotMoveTheVersion(t *testing.T) {
	for name, c := range map[string]urza.Catalogue{
		"sqlite": openSQLite(t, filepath.Join(t.TempDir(), "catalog.db")),
		"memory": urza.NewMemory(),
	} {
		before := versionOf(t, c)
		for _, metadata := range []string{"1", "2", "2"} {
			put(t, c, urza.Row{BlueprintID: "id", Metadata: metadata})
			if now := versionOf(t, c); now != before {
				t.Errorf("%s: version moved from %d to %d", name, before, now)
			}
		}
	}
}

func TestSQLiteFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := openSQLite(t, path)
	put(t, c, urza.Row{BlueprintID: "old"})
	before := versionOf(t, c)

	other := filepath.Join(t.TempDir(), "other.db")
	put(t, openSQLite(t, other), urza.Row{BlueprintID: "new"})
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if versionOf(t, c) == before {
		t.Error("replacing the file did not move the version")
	}
	if hasRow(t, c, "old") || !hasRow(t, c, "new") {
		t.Error("rows are those of the old file")
	}
	put(t, c, urza.Row{BlueprintID: "newer"})
	if !hasRow(t, openSQLite(t, path), "newer") {
		t.Error("a row was written to the old file")
	}
}

func TestSQLiteFileIsDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := openSQLite(t, path)
	put(t, c, urza.Row{BlueprintID: "old"})
	before := versionOf(t, c)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("version of a deleted file: %v", err)
	}
	if _, _, err := c.Row(t.Context(), "old"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("row of a deleted file: %v", err)
	}
	put(t, c, urza.Row{BlueprintID: "new"}) // makes it anew
	if versionOf(t, c) == before {
		t.Error("making the file anew did not move the version")
	}
	if hasRow(t, c, "old") || !hasRow(t, openSQLite(t, path), "new") {
		t.Error("the row is not in the new file")
	}
}

// A file that is overwritten in place keeps its identity, and may even have the
// same change counter.
func TestSQLiteFileIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "catalog.db"), filepath.Join(dir, "other.db")
	c := openSQLite(t, path)
	put(t, c, urza.Row{BlueprintID: "old"})
	versionOf(t, c)
	second := openSQLite(t, other)
	put(t, second, urza.Row{BlueprintID: "new"})
	second.Close()
	before := versionOf(t, c)
	content, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if versionOf(t, c) == before {
		t.Error("overwriting the file did not move the version")
	}
	if hasRow(t, c, "old") || !hasRow(t, c, "new") {
		t.Error("rows are those from before")
	}
}

func TestSQLiteLeavesWALMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	first := openSQLite(t, path)
	put(t, first, urza.Row{BlueprintID: "id"})
	first.Close()
	setJournal(t, path, "wal")
	c := openSQLite(t, path)
	if !hasRow(t, c, "id") {
		t.Error("row is gone")
	}
	c.Close()
	if mode := setJournal(t, path, ""); mode != "delete" {
		t.Errorf("journal mode is %s", mode)
	}
}

// setJournal sets the journal mode, unless empty, and returns it.
func setJournal(t *testing.T, path, mode string) string {
	t.Helper()
	db := openRaw(t, path)
	defer db.Close()
	statement := "PRAGMA journal_mode"
	if mode != "" {
		statement += " = " + mode
	}
	if err := db.QueryRow(statement).Scan(&mode); err != nil {
		t.Fatal(err)
	}
	return mode
}

// openRaw opens a database as somebody else's program does.
func openRaw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

func TestSQLiteWaitsForLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := openSQLite(t, path)
	db := openRaw(t, path)
	defer db.Close()
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Row(ctx, "id"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read of a locked file: %v", err)
	}
	done := make(chan error)
	go func() {
		row := urza.Row{BlueprintID: "id"}
		done <- c.Update(t.Context(), "id", func(*urza.Row) (*urza.Row, error) { return &row, nil })
	}()
	if _, err := db.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("update after the lock was gone: %v", err)
	}
}

func TestSQLiteKeepsColumnsOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := openSQLite(t, path)
	put(t, c, urza.Row{BlueprintID: "id"})
	db := openRaw(t, path)
	defer db.Close()
	for _, statement := range []string{"ALTER TABLE blueprints ADD COLUMN owner VARCHAR", "UPDATE blueprints SET owner = 'me'"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c, urza.Row{BlueprintID: "id", Name: "changed"})
	var owner, name string
	if err := db.QueryRow("SELECT owner, name FROM blueprints").Scan(&owner, &name); err != nil {
		t.Fatal(err)
	}
	if owner != "me" || name != "changed" {
		t.Errorf("owner %q, name %q", owner, name)
	}
}

func TestSQLiteRefusesWhatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	if err := os.WriteFile(path, []byte("this is not a database, but long enough to be taken for one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := urza.OpenSQLite(t.Context(), path, time.Second); err == nil {
		t.Error("opened")
	}
}
