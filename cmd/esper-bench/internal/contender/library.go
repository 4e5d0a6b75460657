package contender

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver that urza registers too

	"github.com/esper-lite/esper/urza"
)

// artifactBytes is the size of an artifact of the bench's library. Only its
// reference travels, and it is hashed once.
const artifactBytes = 4096

// library opens the library under dir.
func library(ctx context.Context, dir string) (*urza.Library, error) {
	return urza.Open(ctx, urza.Config{DatabaseURL: "sqlite:///" + catalogue(dir), ArtifactDir: artifacts(dir), MinFreeBytes: -1})
}

func catalogue(dir string) string { return filepath.Join(dir, "catalog.db") }
func artifacts(dir string) string { return filepath.Join(dir, "urza", "artifacts") }

// MakeLibrary makes a library of n artifacts under dir. The first is added as
// users add theirs; the others are copies of its row and file, written without
// the syncs that make adding durable and slow.
func MakeLibrary(ctx context.Context, dir string, n int) (err error) {
	lib, err := library(ctx, dir)
	if err != nil {
		return fmt.Errorf("contender: library: %w", err)
	}
	_, err = lib.Add(ctx, urza.Addition{
		BlueprintID: blueprintID(0),
		File:        "kernel.pt",
		Reader:      bytes.NewReader(make([]byte, artifactBytes)),
		Edit: func(r *urza.Record) error {
			r.PrewarmSamples = []float64{20.5, 21.5, 24.1}
			return nil
		},
	})
	if err := errors.Join(err, lib.Close()); err != nil {
		return fmt.Errorf("contender: library: %w", err)
	}
	if err := copyRows(ctx, dir, n); err != nil {
		return fmt.Errorf("contender: library: %w", err)
	}
	return nil
}

func copyRows(ctx context.Context, dir string, n int) (err error) {
	db, err := sql.Open("sqlite", catalogue(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	var name, tier, path, metadata string
	row := tx.QueryRowContext(ctx, `SELECT name, tier, artifact_path, metadata_json FROM blueprints`)
	if err := row.Scan(&name, &tier, &path, &metadata); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO blueprints VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := 1; i < n; i++ {
		id := blueprintID(i)
		file := filepath.Join(artifacts(dir), id+".pt")
		if err := os.WriteFile(file, make([]byte, artifactBytes), 0o600); err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, id, name, tier, file, strings.ReplaceAll(metadata, blueprintID(0), id)); err != nil {
			return err
		}
	}
	return tx.Commit()
}
