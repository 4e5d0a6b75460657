package urza_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// fill writes a catalogue of n blueprints, as large as those of the vectors,
// and returns the working directory.
func fill(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "var/urza"), 0o755); err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(dir, "var/urza/catalog.db")
	c, err := urza.OpenSQLite(tb.Context(), path, 0)
	if err != nil {
		tb.Fatal(err)
	}
	c.Close() // it has made the table
	db := openRaw(tb, path)
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		tb.Fatal(err)
	}
	insert, err := tx.Prepare("INSERT INTO blueprints VALUES (?, ?, 'BLUEPRINT_TIER_SAFE', ?, ?)")
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("BP%06d", i)
		metadata := fmt.Sprintf(`{"blueprint_id":%q,"name":"kernel %d","tier":"BLUEPRINT_TIER_SAFE","stage":2,`+
			`"allowed_parameters":{"scale":{"min_value":0.5,"max_value":2.0}},"risk":0.1,"description":"a kernel",`+
			`"_urza":{"guard_digest":"%064d","prewarm_samples":[24.5,20.25,31.0,22.75,24.100000381469727],"artifact_mtime":1795423169.6400316,`+
			`"checksum":"%064x","compile_ms":104.0,"prewarm_ms":24.1,"compile_strategy":"standard","tags":["Vision","safe"]}}`, id, i, i, i)
		if _, err := insert.Exec(id, fmt.Sprintf("kernel %d", i), "var/urza/"+id+".pt", metadata); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

var sizes = []int{1_000, 10_000, 100_000}

// How long does it take to open a catalogue, and how much memory does a record
// take in the index?
func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := fill(b, n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var l *urza.Library
			for b.Loop() {
				if l != nil {
					l.Close()
				}
				var err error
				if l, err = urza.Open(b.Context(), urza.Config{WorkDir: dir}); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/record")
			l.Close()
		})
	}
}

// Does a lookup cost the same however many records there are?
func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b, urza.Config{WorkDir: fill(b, n)})
			ids := make([]string, 1024) // spread, so that the cache does not hold them all
			for i := range ids {
				ids[i] = fmt.Sprintf("BP%06d", i*(n-1)/len(ids))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, ok := l.Lookup(ids[i%len(ids)]); !ok {
					b.Fatal("missing")
				}
				i++
			}
		})
	}
}

// What does an answer cost when the artifact was verified before?
func BenchmarkAnswer(b *testing.B) {
	l := open(b, urza.Config{WorkDir: b.TempDir()})
	add(b, l, "BP", "content")
	r := &leylinepb.KernelPrefetchRequest{RequestId: "r", BlueprintId: "BP"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Answer(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// What does an answer cost for a blueprint that nobody has: one read?
func BenchmarkAnswerMissing(b *testing.B) {
	l := open(b, urza.Config{WorkDir: fill(b, 1000)})
	r := &leylinepb.KernelPrefetchRequest{RequestId: "r", BlueprintId: "none"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Answer(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// How many saves can one process make?
func BenchmarkAdd(b *testing.B) {
	l := open(b, urza.Config{WorkDir: b.TempDir()})
	content := bytes.Repeat([]byte("x"), 4096)
	for b.Loop() {
		if _, err := l.Add(b.Context(), urza.Addition{BlueprintID: "BP", Reader: bytes.NewReader(content)}); err != nil {
			b.Fatal(err)
		}
	}
}

// What does a change by another process cost: reading all rows again?
func BenchmarkRefresh(b *testing.B) {
	dir := fill(b, 100_000)
	l := open(b, urza.Config{WorkDir: dir, RefreshInterval: time.Hour})
	other := openSQLite(b, filepath.Join(dir, "var/urza/catalog.db"))
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		put(b, other, urza.Row{BlueprintID: "CHANGED", Metadata: fmt.Sprintf(`{"stage":%d}`, i)})
		b.StartTimer()
		if err := l.Refresh(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
