package urza_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/urza"
)

// bytesRead returns how many bytes this process has read so far.
func bytesRead(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// All who ask for an artifact that is not verified yet wait for one hash, and
// nobody hashes it again.
func TestManyWaitForOneHash(t *testing.T) {
	const size = 3 << 20
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		catalogue := urza.NewMemory()
		add(t, open(t, urza.Config{WorkDir: dir, Catalogue: catalogue}), "BP", strings.Repeat("x", size))
		l := open(t, urza.Config{WorkDir: dir, Catalogue: catalogue.Peer()}) // has no proof yet
		release := urza.HoldHashing(l)
		var answered atomic.Int64
		for range 50 {
			go func() {
				if a, err := l.Resolve(t.Context(), "BP"); err != nil || a.Size != size {
					t.Error(a, err)
				}
				answered.Add(1)
			}()
		}
		synctest.Wait()
		if n := answered.Load(); n != 0 {
			t.Errorf("%d requests are answered before the hash", n)
		}
		before := bytesRead(t)
		release()
		synctest.Wait()
		if n := answered.Load(); n != 50 {
			t.Errorf("%d of 50 requests are answered", n)
		}
		if n := bytesRead(t) - before; n < size || n >= 2*size {
			t.Errorf("%d bytes were read for one hash of %d", n, size)
		}
		defer urza.HoldHashing(l)()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := l.Resolve(ctx, "BP"); err != nil {
			t.Errorf("after the hash: %v", err)
		}
	})
}
