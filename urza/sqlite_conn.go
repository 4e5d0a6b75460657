package urza

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// connection is one connection with its statements. Its calls do not take a
// context: each is short, because none waits for a lock, and a statement that
// is interrupted half-way would leave a transaction in doubt.
type connection struct {
	db   *sql.DB
	conn *sql.Conn

	selectRow, selectPage, upsert, remove, version *sql.Stmt
}

const (
	createTable = `CREATE TABLE IF NOT EXISTS blueprints (
	blueprint_id VARCHAR NOT NULL,
	name VARCHAR NOT NULL,
	tier VARCHAR NOT NULL,
	artifact_path VARCHAR NOT NULL,
	metadata_json TEXT NOT NULL,
	PRIMARY KEY (blueprint_id)
)`
	selectRow = `SELECT blueprint_id, name, tier, artifact_path, metadata_json FROM blueprints
WHERE blueprint_id = ?`
	selectPage = `SELECT blueprint_id, name, tier, artifact_path, metadata_json FROM blueprints
WHERE blueprint_id > ? ORDER BY blueprint_id LIMIT ?`
	// An upsert leaves columns alone that somebody else may have added.
	upsertRow = `INSERT INTO blueprints (blueprint_id, name, tier, artifact_path, metadata_json) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (blueprint_id) DO UPDATE SET name = excluded.name, tier = excluded.tier,
artifact_path = excluded.artifact_path, metadata_json = excluded.metadata_json`
	deleteRow = `DELETE FROM blueprints WHERE blueprint_id = ?`
)

// connect opens path and makes the table if it is missing.
func connect(ctx context.Context, path string) (*connection, error) {
	db, err := sql.Open("sqlite", fileURI(path))
	if err != nil {
		return nil, err
	}
	c := &connection{db: db}
	if err := c.setUp(context.WithoutCancel(ctx), path); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// fileURI escapes what SQLite would read as a query or a fragment.
func fileURI(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func (c *connection) setUp(ctx context.Context, path string) error {
	var err error
	if c.conn, err = c.db.Conn(ctx); err != nil {
		return err
	}
	for _, pragma := range [...]string{"busy_timeout = 0", "synchronous = EXTRA", "foreign_keys = OFF"} {
		if _, err := c.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	if err := c.useRollbackJournal(ctx); err != nil {
		return err
	}
	if err := c.clearJournal(path + "-journal"); err != nil {
		return err
	}
	var tables int
	const count = `SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = 'blueprints'`
	if err := c.conn.QueryRowContext(ctx, count).Scan(&tables); err != nil {
		return err
	}
	if tables == 0 {
		if _, err := c.conn.ExecContext(ctx, createTable); err != nil {
			return err
		}
	}
	return c.prepare(ctx)
}

// useRollbackJournal switches a file in WAL mode back. SQLite refuses that as
// busy while others have the file open; then it stays as it is, which works.
func (c *connection) useRollbackJournal(ctx context.Context) error {
	var mode string
	if err := c.conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		return err
	}
	if err := c.conn.QueryRowContext(ctx, "PRAGMA journal_mode = DELETE").Scan(&mode); !isBusy(err) {
		return err
	}
	return nil
}

// clearJournal has SQLite remove a journal that a crash left before it said
// anything: it is harmless, but stays until the next write. So this is one,
// which changes nothing. A journal that does say something is played back by
// beginning, and that of a writer under way makes beginning fail as busy.
func (c *connection) clearJournal(journal string) error {
	if _, err := os.Stat(journal); err != nil {
		return nil
	}
	if err := c.begin(); err != nil {
		if isBusy(err) || sqliteCode(err)&0xff == sqliteReadOnly {
			return nil
		}
		return err
	}
	if _, err := os.Stat(journal); err != nil {
		return c.rollback()
	}
	err := c.rewriteVersion()
	if err == nil {
		err = c.commit()
	}
	if err != nil {
		err = errors.Join(err, c.rollback())
	}
	if isBusy(err) {
		return nil // somebody reads; it stays until the next write
	}
	return err
}

// rewriteVersion writes the number that applications may keep in the file, as
// it is.
func (c *connection) rewriteVersion() error {
	var version int
	if err := c.conn.QueryRowContext(context.Background(), "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	return c.exec(fmt.Sprintf("PRAGMA user_version = %d", version))
}

func (c *connection) prepare(ctx context.Context) error {
	for _, s := range [...]struct {
		statement **sql.Stmt
		text      string
	}{
		{&c.selectRow, selectRow},
		{&c.selectPage, selectPage},
		{&c.upsert, upsertRow},
		{&c.remove, deleteRow},
		{&c.version, "PRAGMA data_version"},
	} {
		var err error
		if *s.statement, err = c.conn.PrepareContext(ctx, s.text); err != nil {
			return err
		}
	}
	return nil
}

// close never has a transaction to lose; its errors say nothing that matters.
func (c *connection) close() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.db.Close()
}

func (c *connection) exec(text string) error {
	_, err := c.conn.ExecContext(context.Background(), text)
	return err
}

func (c *connection) begin() error    { return c.exec("BEGIN IMMEDIATE") }
func (c *connection) commit() error   { return c.exec("COMMIT") }
func (c *connection) rollback() error { return c.exec("ROLLBACK") }

func (c *connection) dataVersion() (int64, error) {
	var version int64
	err := c.version.QueryRow().Scan(&version)
	return version, err
}

func (c *connection) row(blueprintID string) (Row, bool, error) {
	var r Row
	err := c.selectRow.QueryRow(blueprintID).Scan(&r.BlueprintID, &r.Name, &r.Tier, &r.ArtifactPath, &r.Metadata)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, false, nil
	}
	return r, err == nil, err
}

func (c *connection) page(after string, limit int) ([]Row, error) {
	rows, err := c.selectPage.Query(after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []Row
	for size := 0; size < pageBytes && rows.Next(); {
		var r Row
		if err := rows.Scan(&r.BlueprintID, &r.Name, &r.Tier, &r.ArtifactPath, &r.Metadata); err != nil {
			return nil, err
		}
		page = append(page, r)
		size += len(r.BlueprintID) + len(r.Name) + len(r.Tier) + len(r.ArtifactPath) + len(r.Metadata)
	}
	return page, rows.Err()
}

// change runs one change inside the open transaction and reports whether it
// wrote.
func (c *connection) change(blueprintID string, change func(old *Row) (*Row, error)) (bool, error) {
	var old *Row
	row, found, err := c.row(blueprintID)
	if err != nil {
		return false, err
	}
	if found {
		old = &row
	}
	now, err := c.callback(clone(old), change)
	if err != nil {
		return false, err
	}
	if err := checkChange(blueprintID, now); err != nil {
		return false, &changeError{err}
	}
	if sameRow(old, now) {
		return false, nil
	}
	if now == nil {
		_, err = c.remove.Exec(blueprintID)
	} else {
		_, err = c.upsert.Exec(now.BlueprintID, now.Name, now.Tier, now.ArtifactPath, now.Metadata)
	}
	return err == nil, err
}

// callback ends the transaction when change panics: the locks of the file must
// not stay behind.
func (c *connection) callback(old *Row, change func(old *Row) (*Row, error)) (now *Row, err error) {
	done := false
	defer func() {
		if !done {
			if err := c.rollback(); err != nil {
				c.close()
			}
		}
	}()
	now, err = change(old)
	done = true
	if err != nil {
		return nil, &changeError{err}
	}
	return now, nil
}

// changeError marks an error of the change function, which is the caller's and
// not the catalogue's.
type changeError struct{ err error }

func (e *changeError) Error() string { return fmt.Sprintf("urza: change: %v", e.err) }
