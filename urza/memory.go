package urza

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// Memory is a [Catalogue] that lives in one process.
type Memory struct {
	table *table

	mu      sync.Mutex // guards what follows
	seen    uint64     // writes of others included in version
	own     uint64     // writes by this value
	version uint64
	closed  bool
}

// table is what several values of Memory share.
type table struct {
	mu     sync.Mutex
	rows   map[string]Row
	writes uint64
}

// NewMemory returns an empty catalogue.
func NewMemory() *Memory {
	return &Memory{table: &table{rows: map[string]Row{}}}
}

// Peer returns another catalogue with the same rows: what another process is
// to a catalogue on disk.
func (m *Memory) Peer() *Memory {
	return &Memory{table: m.table}
}

func (m *Memory) check(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if m.closed {
		return ErrClosed
	}
	return nil
}

// Version implements [Catalogue].
func (m *Memory) Version(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx); err != nil {
		return 0, err
	}
	m.table.mu.Lock()
	defer m.table.mu.Unlock()
	if others := m.table.writes - m.own; others != m.seen {
		m.seen = others
		m.version++
	}
	return m.version, nil
}

// Row implements [Catalogue].
func (m *Memory) Row(ctx context.Context, blueprintID string) (Row, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx); err != nil {
		return Row{}, false, err
	}
	m.table.mu.Lock()
	defer m.table.mu.Unlock()
	row, ok := m.table.rows[blueprintID]
	return row, ok, nil
}

// Page implements [Catalogue].
func (m *Memory) Page(ctx context.Context, after string, limit int) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	m.table.mu.Lock()
	defer m.table.mu.Unlock()
	var rows []Row
	for id, row := range m.table.rows {
		if id > after {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.BlueprintID, b.BlueprintID) })
	return rows[:min(len(rows), max(limit, 1))], nil
}

// Update implements [Catalogue].
func (m *Memory) Update(ctx context.Context, blueprintID string, change func(old *Row) (*Row, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(ctx); err != nil {
		return err
	}
	m.table.mu.Lock()
	defer m.table.mu.Unlock()
	var old *Row
	if row, ok := m.table.rows[blueprintID]; ok {
		old = &row
	}
	now, err := change(clone(old))
	if err != nil {
		return err
	}
	if err := checkChange(blueprintID, now); err != nil {
		return err
	}
	switch {
	case sameRow(old, now):
		return nil
	case now == nil:
		delete(m.table.rows, blueprintID)
	default:
		m.table.rows[blueprintID] = *now
	}
	m.table.writes++
	m.own++
	return nil
}

// Close implements [Catalogue]. The rows stay as long as there is a peer.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
