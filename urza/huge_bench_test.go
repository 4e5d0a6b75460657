package urza_test

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/esper-lite/esper/urza"
)

const hashedBytes = 1 << 30

// How fast is the first answer for an artifact of 1 GiB, next to SHA-256 alone over
// as many bytes in memory, in turns? x-sha256 is the ratio of the two speeds, 1 for
// one that loses nothing; heap-B is how much the heap grew at most, next-ns how long
// the answer after it takes.
func BenchmarkFirstAnswerOf1GiB(b *testing.B) {
	dir := b.TempDir()
	l := open(b, urza.Config{WorkDir: dir})
	if _, err := l.Add(b.Context(), urza.Addition{BlueprintID: "BP", Reader: io.LimitReader(zeros{}, hashedBytes)}); err != nil {
		b.Fatal(err)
	}
	e, _ := l.Lookup("BP")
	path := filepath.Join(dir, e.ArtifactPath)
	resolve := func() {
		if _, err := l.Resolve(b.Context(), "BP"); err != nil {
			b.Fatal(err)
		}
	}
	var alone, first, next time.Duration
	var grown uint64
	i := 0
	for b.Loop() {
		i++ // another modification time: another file, for all that anybody knows
		if err := os.Chtimes(path, time.Time{}, time.Unix(int64(i), 0)); err != nil {
			b.Fatal(err)
		}
		alone += took(hashInMemory)
		grown = max(grown, heapGrowth(func() { first += took(resolve) }))
		next += took(resolve)
	}
	b.ReportMetric(alone.Seconds()/first.Seconds(), "x-sha256")
	b.ReportMetric(float64(hashedBytes)*float64(i)/first.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(grown), "heap-B")
	b.ReportMetric(float64(next.Nanoseconds())/float64(i), "next-ns")
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func hashInMemory() {
	chunk := make([]byte, 512<<10)
	h := sha256.New()
	for range hashedBytes / len(chunk) {
		h.Write(chunk)
	}
	h.Sum(nil)
}

// heapGrowth is how much more the heap held at most while f ran than before.
func heapGrowth(f func()) (grown uint64) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	size := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	runtime.GC()
	before := size()
	done := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			grown = max(grown, max(size(), before)-before)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	f()
	close(done)
	sampling.Wait()
	return grown
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
