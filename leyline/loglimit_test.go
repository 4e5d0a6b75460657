package leyline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/leyline"
)

// lockedBuffer is a bytes.Buffer that timers may write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newLimited returns a logger with a limit, and what it has written.
func newLimited(limit leyline.LogLimit) (*slog.Logger, *leyline.LogLimiter, *lockedBuffer) {
	out := new(lockedBuffer)
	h := leyline.NewLogLimiter(slog.NewTextHandler(out, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	}), limit)
	return slog.New(h), h, out
}

func TestLogLimiterFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, out := newLimited(leyline.LogLimit{})
		log = log.With("stream", "oona.normal")
		for range 30_000 { // 10,000/s for 3 s
			log.Warn("message refused", "reason", leyline.Unsigned)
			time.Sleep(100 * time.Microsecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		lines, suppressed := 0, 0
		for line := range strings.Lines(out.String()) {
			lines++
			var n int
			if _, after, ok := strings.Cut(line, "count="); ok {
				if _, err := fmt.Sscan(after, &n); err != nil {
					t.Fatal(err)
				}
				if want := `level=WARN msg="log records suppressed" stream=oona.normal message="message refused" count=`; !strings.HasPrefix(line, want) {
					t.Errorf("line %q, want it to begin with %q", line, want)
				}
				suppressed += n
			}
		}
		if lines > 3*6 {
			t.Errorf("%d lines in 3 s, want at most 18:\n%s", lines, out)
		}
		if passed := lines - strings.Count(out.String(), "count="); passed+suppressed != 30_000 {
			t.Errorf("%d written and %d suppressed, want 30,000 in all", passed, suppressed)
		}
	})
}

// Below the limit nothing changes, however long it goes on.
func TestLogLimiterPassesNormalTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, out := newLimited(leyline.LogLimit{Records: 2})
		for range 100 {
			log.Info("tick")
			time.Sleep(time.Second / 2)
		}
		if got := strings.Count(out.String(), "msg=tick"); got != 100 || strings.Contains(out.String(), "suppressed") {
			t.Errorf("%d of 100 lines:\n%s", got, out)
		}
	})
}

func TestLogLimiterKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, out := newLimited(leyline.LogLimit{Records: 1, Kind: func(r slog.Record) (kind string) {
			r.Attrs(func(a slog.Attr) bool {
				if a.Key == "reason" {
					kind = a.Value.String()
				}
				return kind == ""
			})
			return kind
		}})
		for range 3 {
			log.Warn("refused", "reason", "stale")
			log.Warn("refused", "reason", "future")
			log.Error("refused", "reason", "stale") // another level
		}
		if got := strings.Count(out.String(), "\n"); got != 3 {
			t.Errorf("%d lines at once, want 3:\n%s", got, out)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := strings.Count(out.String(), "count=2 interval=1s"); got != 3 {
			t.Errorf("%d summaries, want 3:\n%s", got, out)
		}
	})
}

func TestLogLimiterBoundsKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, out := newLimited(leyline.LogLimit{Records: 2, MaxKinds: 10})
		for i := range 1000 {
			log.Info(fmt.Sprint("message ", i))
		}
		// Ten kinds of their own, two records of the kind that the rest share.
		if got := strings.Count(out.String(), "\n"); got != 12 {
			t.Errorf("%d lines, want 12:\n%s", got, out)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), `message="message 999" count=988`) {
			t.Errorf("no summary of what was suppressed:\n%s", out)
		}
		before := len(out.String())
		for i := range 10 {
			log.Info(fmt.Sprint("later ", i))
		}
		if got := strings.Count(out.String()[before:], "msg=\"later"); got != 10 {
			t.Errorf("%d of 10 new kinds, the old ones made no room", got)
		}
	})
}

func TestLogLimiterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, limiter, out := newLimited(leyline.LogLimit{Records: 1})
		for range 5 {
			log.WithGroup("g").Info("again")
		}
		log.Debug("not enabled")
		log.Error("once")
		limiter.Flush()
		want := "level=INFO msg=again\nlevel=INFO msg=\"log records suppressed\" g.message=again g.count=4 g.interval=1s\n"
		want = strings.Replace(want, "level=INFO msg=\"log", "level=ERROR msg=once\nlevel=INFO msg=\"log", 1)
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("after Flush (-want +got):\n%s", diff)
		}
		limiter.Flush()
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("a minute later (-want +got):\n%s", diff)
		}
	})
}

// With room enough the limiter is a slog.Handler like any other.
func TestLogLimiterIsAHandler(t *testing.T) {
	var out bytes.Buffer
	h := leyline.NewLogLimiter(slog.NewJSONHandler(&out, nil), leyline.LogLimit{Records: 1000})
	if err := slogtest.TestHandler(h, func() []map[string]any {
		var all []map[string]any
		for line := range bytes.Lines(out.Bytes()) {
			var m map[string]any
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	}); err != nil {
		t.Error(err)
	}
	if h.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("enabled below the level of the handler behind it")
	}
}
