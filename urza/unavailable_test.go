package urza_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// moody is a catalogue that can fail or take its time.
type moody struct {
	*urza.Memory

	mu    sync.Mutex
	err   error
	delay time.Duration
	reads int
}

func (m *moody) set(err error, delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.delay = err, delay
}

func (m *moody) mood(ctx context.Context) error {
	m.mu.Lock()
	m.reads++
	err, delay := m.err, m.delay
	m.mu.Unlock()
	select {
	case <-time.After(delay):
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *moody) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func (m *moody) Row(ctx context.Context, id string) (urza.Row, bool, error) {
	if err := m.mood(ctx); err != nil {
		return urza.Row{}, false, err
	}
	return m.Memory.Row(ctx, id)
}

func (m *moody) Version(ctx context.Context) (uint64, error) {
	if err := m.mood(ctx); err != nil {
		return 0, err
	}
	return m.Memory.Version(ctx)
}

func TestCatalogueAway(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &moody{Memory: urza.NewMemory()}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m, RefreshInterval: 24 * time.Hour})
		add(t, l, "BP", "content")
		broken := errors.New("broken")
		m.set(broken, 0)
		// What is known is served; what is not is neither missing nor there.
		for range 3 {
			if got := ask(t, l, "BP"); got != "ready" {
				t.Error(got)
			}
			if got := ask(t, l, "NEW"); got != urza.ReasonCatalogUnavailable {
				t.Error(got)
			}
		}
		checkBreaker(t, l, leylinepb.CircuitBreakerState_CIRCUIT_STATE_OPEN, 1, 1)
		reads := m.count()
		if _, err := l.Resolve(t.Context(), "NEW"); !errors.Is(err, urza.ErrUnavailable) {
			t.Error(err)
		}
		if m.count() != reads {
			t.Error("an open breaker let a read through")
		}
		if got := figures(l); got["breaker_denied"] != 1 || got["cache_errors"] != 3 {
			t.Error(got)
		}
		m.set(nil, 0)
		put(t, m.Peer(), urza.Row{BlueprintID: "NEW", Metadata: "{}", ArtifactPath: "var/urza/none"})
		time.Sleep(31 * time.Second)
		checkBreaker(t, l, leylinepb.CircuitBreakerState_CIRCUIT_STATE_HALF_OPEN, 1, 1)
		if got := ask(t, l, "NEW"); got != urza.ReasonArtifactNotFound {
			t.Error(got)
		}
		if got := ask(t, l, "NONE"); got != urza.ReasonMissingArtifact {
			t.Error(got)
		}
		checkBreaker(t, l, leylinepb.CircuitBreakerState_CIRCUIT_STATE_CLOSED, 0, 1)
	})
}

func checkBreaker(t *testing.T, l *urza.Library, state leylinepb.CircuitBreakerState, wary, opened float64) {
	t.Helper()
	got := figures(l)
	if got["breaker_state"] != float64(state) || got["conservative_mode"] != wary || got["breaker_open_total"] != opened {
		t.Errorf("want state %v, conservative %v, opened %v: %v", state, wary, opened, got)
	}
}

func TestSlowCatalogue(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &moody{Memory: urza.NewMemory()}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m, RefreshInterval: 24 * time.Hour})
		m.set(nil, 199*time.Millisecond)
		for range 3 {
			ask(t, l, "NONE")
		}
		if got := figures(l); got["slow_queries"] != 0 || got["lookup_latency_ms"] != 199 {
			t.Error(got)
		}
		m.set(nil, 201*time.Millisecond)
		for range 3 {
			ask(t, l, "NONE")
		}
		if got := figures(l); got["slow_queries"] != 3 || got["lookup_latency_ms"] != 201 || got["breaker_open_total"] != 1 {
			t.Error(got)
		}
	})
}

// However many ask for what is not known, there is one read at a time; and who
// asks after a row was saved finds it, even if the read under way began before.
func TestOneReadAtATime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &moody{Memory: urza.NewMemory()}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m, RefreshInterval: 24 * time.Hour, LookupObjective: time.Hour})
		m.set(nil, time.Second)
		before := m.count()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := l.Resolve(t.Context(), "NEW"); !errors.Is(err, urza.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := m.count() - before; got != 2 {
			t.Errorf("%d reads for 100 requests", got)
		}
	})
}

func TestRequestDuringOldRead(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &late{Memory: urza.NewMemory(), release: make(chan struct{})}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m, RefreshInterval: 24 * time.Hour, LookupObjective: time.Hour})
		var wg sync.WaitGroup
		wg.Go(func() { l.Resolve(t.Context(), "NEW") })
		synctest.Wait() // it has read that there is no row, but not returned
		other := open(t, urza.Config{WorkDir: dir, Catalogue: m.Peer()})
		add(t, other, "NEW", "content")
		wg.Go(func() {
			if _, err := l.Resolve(t.Context(), "NEW"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(m.release)
		wg.Wait()
	})
}

// late returns rows later than it reads them.
type late struct {
	*urza.Memory
	release chan struct{}
}

func (m *late) Row(ctx context.Context, id string) (urza.Row, bool, error) {
	row, found, err := m.Memory.Row(ctx, id)
	<-m.release
	return row, found, err
}

func TestIndexRefreshesByItself(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &moody{Memory: urza.NewMemory()}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m})
		put(t, m.Peer(), urza.Row{BlueprintID: "NEW", Metadata: "{}"})
		if _, ok := l.Lookup("NEW"); ok {
			t.Error("found before the first refresh")
		}
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if _, ok := l.Lookup("NEW"); !ok {
			t.Error("not found after the first refresh")
		}
		m.set(errors.New("away"), 0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ok := l.Lookup("NEW"); !ok {
			t.Error("forgotten while the catalogue was away")
		}
		if got := figures(l)["cache_errors"]; got != 10 {
			t.Errorf("%v errors", got)
		}
		m.set(nil, 3*time.Second) // a look takes 3 s: then there is one every 33
		before := m.count()
		time.Sleep(100 * time.Second)
		if got := m.count() - before; got != 4 {
			t.Errorf("%d looks in 100 s", got)
		}
	})
}

func TestContextEndsWhileHashing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir})
	add(t, l, "BP", strings.Repeat("x", 8<<20))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	other := open(t, urza.Config{WorkDir: dir}) // has to hash
	if answer, err := other.Answer(ctx, request("r", "BP")); !errors.Is(err, cause) {
		t.Errorf("got %v, %v", answer, err)
	}
	if got := ask(t, other, "BP"); got != "ready" { // the hash went on
		t.Error(got)
	}
}

func TestConfigIsValidated(t *testing.T) {
	for name, cfg := range map[string]urza.Config{
		"scheme":       {DatabaseURL: "postgres://host/db"},
		"no URL":       {DatabaseURL: "./catalog.db"},
		"host":         {DatabaseURL: "sqlite://host/catalog.db"},
		"uri":          {DatabaseURL: "sqlite:///file:x?uri=true"},
		"NUL":          {DatabaseURL: "sqlite:///a\x00b"},
		"NUL in dir":   {ArtifactDir: "a\x00b"},
		"no parent":    {ArtifactDir: "/"},
		"negative TTL": {CacheTTL: -1},
		"refresh":      {RefreshInterval: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "urza: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, cfg := range map[string]urza.Config{
		"zero":     {},
		"absolute": {DatabaseURL: "sqlite:////var/lib/urza/catalog.db"},
		"driver":   {DatabaseURL: "sqlite+pysqlite:///./catalog.db?timeout=30"},
		"memory":   {DatabaseURL: "sqlite://"},
		"memory 2": {DatabaseURL: "sqlite:///:memory:"},
	} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/var/urza/artifacts", "not a folder", 0)
	if _, err := urza.Open(t.Context(), urza.Config{WorkDir: dir}); !errors.Is(err, urza.ErrArtifactDir) || !strings.Contains(err.Error(), dir+"/var/urza/artifacts: ") {
		t.Errorf("a file for the artifact directory: %v", err)
	}
	for _, dir := range []string{"/proc/nowhere/artifacts", "/proc/artifacts"} { // nobody can make these
		if _, err := urza.Open(t.Context(), urza.Config{WorkDir: t.TempDir(), ArtifactDir: dir}); !errors.Is(err, urza.ErrArtifactDir) || !strings.Contains(err.Error(), dir+": ") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	dir = t.TempDir()
	write(t, dir+"/var/urza/catalog.db", "this is no database, but it is long enough to be taken for one ......", 0)
	if _, err := urza.Open(t.Context(), urza.Config{WorkDir: dir}); err == nil || errors.Is(err, urza.ErrArtifactDir) {
		t.Error("opened with something else for the catalogue")
	}
}

func TestSpecialFilesAreNotAdded(t *testing.T) {
	l := open(t, urza.Config{WorkDir: t.TempDir()})
	fifo := makeFifo(t, t.TempDir()+"/fifo")
	for _, file := range []string{fifo, "/dev/zero"} {
		if _, err := l.Add(t.Context(), urza.Addition{BlueprintID: "BP", File: file}); err == nil {
			t.Errorf("%s was added", file)
		}
	}
	if diff := cmp.Diff(0, len(l.List(urza.Query{}))); diff != "" {
		t.Error(diff)
	}
}
