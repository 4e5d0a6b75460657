package urza

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// Disposal says what maintenance does with what it finds.
type Disposal uint8

const (
	// Quarantine moves files to the folder quarantine of the artifact
	// directory, and writes each row that goes with one beside it as JSON.
	// Drafts, which are never whole, are deleted. Rows without a file are only
	// reported: the file may come back, as with a file system that is not
	// mounted.
	Quarantine Disposal = iota

	// ReportOnly changes nothing.
	ReportOnly

	// Delete deletes files, and rows without a file as well.
	Delete
)

// DefaultMaintenanceAge is how old a file must be to be taken for left over.
const DefaultMaintenanceAge = time.Hour

// MaintenanceOptions says how far maintenance goes.
type MaintenanceOptions struct {
	Disposal Disposal

	// MinAge is how long a file without a record must have been left alone,
	// by its modification time, to be disposed of: it may belong to a save
	// under way. Zero means DefaultMaintenanceAge, negative none.
	MinAge time.Duration
}

// MaintenanceReport lists what maintenance found. Disposed of is what is in
// Expired, Missing, Orphans, Drafts and Pending, as the options say, but not
// what is in Failures.
type MaintenanceReport struct {
	Expired []Entry  // records whose artifact is older than Config.CacheTTL
	Missing []Entry  // records whose artifact is not there
	Orphans []string // whole files of this library that no record names
	Drafts  []string // files of this library's additions that were cut off
	Pending []string // pending saves of the Python side that cannot be applied

	// Strangers are files that no record names and that this library did not
	// make: all such files in the library root, and those in the artifact
	// directory whose names are not of its kind. They are never touched,
	// whatever their age: the root may hold anything, and another writer puts
	// its file there before it writes the row. Catalogue, pending saves and
	// hidden files are left out.
	Strangers []string

	// Failures says what could not be disposed of, and why.
	Failures []MaintenanceFailure
}

// MaintenanceFailure is something that could not be disposed of.
type MaintenanceFailure struct {
	BlueprintID string // empty for a file without a record
	Path        string // relative to the library root; for a record its artifact path
	Err         error
}

// MarshalJSON writes snake_case names and the error as text.
func (f MaintenanceFailure) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"blueprint_id": f.BlueprintID, "path": f.Path, "error": f.Err.Error()})
}

// MarshalJSON writes snake_case names, and empty lists for what was not found.
func (r *MaintenanceReport) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"expired":   append([]Entry{}, r.Expired...),
		"missing":   append([]Entry{}, r.Missing...),
		"orphans":   append([]string{}, r.Orphans...),
		"drafts":    append([]string{}, r.Drafts...),
		"pending":   append([]string{}, r.Pending...),
		"strangers": append([]string{}, r.Strangers...),
		"failures":  append([]MaintenanceFailure{}, r.Failures...),
	})
}

// Maintain looks for records whose artifact is expired or missing and for files
// that no record names, and disposes of them as the options say. Of the files
// that no record names it disposes only of those that this library made, which
// it knows by their names; see [MaintenanceReport.Strangers]. It may run
// beside everything else, in any number of processes.
//
// It fails when ctx ends, when the library is closed, with [ErrUnavailable], or
// when a folder cannot be read; what it had done by then is in the report.
func (l *Library) Maintain(ctx context.Context, o MaintenanceOptions) (*MaintenanceReport, error) {
	o.MinAge = max(cmp.Or(o.MinAge, DefaultMaintenanceAge), 0)
	m := &maintenance{library: l, options: o, report: &MaintenanceReport{}}
	if err := m.run(ctx); err != nil {
		return m.report, err
	}
	return m.report, nil
}

// maintenance is one run.
type maintenance struct {
	library *Library
	options MaintenanceOptions
	report  *MaintenanceReport
	named   map[string]bool // files that records name, relative to the root
}

func (m *maintenance) run(ctx context.Context) error {
	l := m.library
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	if err := m.pending(ctx); err != nil {
		return err
	}
	// First the files, then a wait for the saves under way, then the rows: a
	// file that was there at the start belongs to one of the rows by then, or
	// to none ever.
	files, err := m.files()
	if err != nil {
		return err
	}
	barrier := func(old *Row) (*Row, error) { return old, nil }
	if err := l.catalogue.Update(ctx, "", barrier); err != nil {
		return cmp.Or(context.Cause(ctx), unavailable(err))
	}
	if err := l.scan(ctx); err != nil {
		return err
	}
	m.records(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, f := range files {
		m.file(f)
	}
	return context.Cause(ctx)
}

// records goes through the rows: it notes which files they name and disposes of
// what is expired or missing.
func (m *maintenance) records(ctx context.Context) {
	m.named = map[string]bool{}
	var expired, missing []Entry
	for _, e := range m.library.List(Query{}) {
		at, err := m.library.store.find(e.ArtifactPath)
		switch ttl := m.library.cfg.CacheTTL; {
		case err != nil:
			missing = append(missing, e)
			continue
		case ttl > 0 && time.Since(time.Unix(0, at.id.modified)) > ttl:
			expired = append(expired, e)
		}
		m.named[at.name] = true
	}
	m.report.Expired, m.report.Missing = expired, missing
	for _, e := range expired {
		if ctx.Err() == nil && m.options.Disposal != ReportOnly {
			m.failed(e.BlueprintID, e.ArtifactPath, m.expire(ctx, e.BlueprintID))
		}
	}
	for _, e := range missing {
		if ctx.Err() == nil && m.options.Disposal == Delete {
			m.failed(e.BlueprintID, e.ArtifactPath, m.forget(ctx, e.BlueprintID))
		}
	}
}

func (m *maintenance) failed(blueprintID, path string, err error) {
	if err != nil {
		m.report.Failures = append(m.report.Failures, MaintenanceFailure{blueprintID, path, err})
	}
}

// expire takes an expired record out of the catalogue, if it still is what it
// was, and then disposes of its file.
func (m *maintenance) expire(ctx context.Context, blueprintID string) error {
	row, found, err := m.library.catalogue.Row(ctx, blueprintID)
	if err != nil || !found {
		return err
	}
	at, err := m.library.store.find(row.ArtifactPath)
	if err != nil || time.Since(time.Unix(0, at.id.modified)) <= m.library.cfg.CacheTTL {
		return err
	}
	if m.options.Disposal == Quarantine {
		if err := m.quarantineRow(&row, at.name); err != nil {
			return err
		}
	}
	if _, err := m.library.deleteRow(ctx, blueprintID, &row); err != nil {
		return err
	}
	m.library.count.expired.Add(1)
	if m.library.isNamed(at.name) {
		return nil
	}
	return m.dispose(at.name)
}

// forget deletes a record whose file is still missing.
func (m *maintenance) forget(ctx context.Context, blueprintID string) error {
	row, found, err := m.library.catalogue.Row(ctx, blueprintID)
	if err != nil || !found {
		return err
	}
	if _, err := m.library.store.find(row.ArtifactPath); err == nil {
		return errors.New("urza: artifact is there again")
	}
	_, err = m.library.deleteRow(ctx, blueprintID, &row)
	return err
}

// leftover is a file that lay in the library when maintenance began.
type leftover struct {
	name     string // relative to the root
	modified time.Time
}

// files lists the regular files in the artifact directory and in the root.
func (m *maintenance) files() ([]leftover, error) {
	var files []leftover
	for _, dir := range [...]string{m.library.store.dir, "."} {
		entries, err := fs.ReadDir(m.library.store.root.Load().FS(), filepath.ToSlash(dir))
		if err != nil {
			return nil, fmt.Errorf("urza: maintenance: %w", err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				files = append(files, leftover{filepath.Join(dir, e.Name()), info.ModTime()})
			}
		}
	}
	return files, nil
}

// file decides about one file.
func (m *maintenance) file(f leftover) {
	base, ours := filepath.Base(f.name), m.library.store.owns(f.name)
	switch {
	case m.named[f.name]:
	case !ours && (strings.HasPrefix(base, ".") || base == pendingName || m.library.isCatalogue(f.name)):
		// neither ours nor worth a word
	case !ours:
		m.report.Strangers = append(m.report.Strangers, f.name)
	case time.Since(f.modified) < m.options.MinAge:
	case isDraft(base):
		m.report.Drafts = append(m.report.Drafts, f.name)
		if m.options.Disposal != ReportOnly {
			m.failed("", f.name, m.library.store.remove(f.name))
		}
	default:
		m.report.Orphans = append(m.report.Orphans, f.name)
		m.failed("", f.name, m.dispose(f.name))
	}
}

// isCatalogue reports whether a file of the root is the database or one of the
// files that SQLite keeps beside it.
func (l *Library) isCatalogue(name string) bool {
	database, err := databasePath(l.cfg.DatabaseURL)
	if err != nil || database == "" {
		return false
	}
	rest, ok := strings.CutPrefix(filepath.Join(l.store.top, name), l.cfg.absolute(database))
	return ok && (rest == "" || rest == "-journal" || rest == "-wal" || rest == "-shm")
}

// pending applies the pending saves of the Python side and disposes of those
// that cannot be applied and are old.
func (m *maintenance) pending(ctx context.Context) error {
	m.library.takePending(ctx)
	for _, path := range m.library.pendingPaths {
		old, err := isOld(path, m.options.MinAge)
		if err != nil || !old {
			continue
		}
		m.report.Pending = append(m.report.Pending, path)
		m.failed("", path, m.disposePending(path))
	}
	return context.Cause(ctx)
}
