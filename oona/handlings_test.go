package oona_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esper-lite/esper/oona"
)

// handlings writes down when a child handles what, for the test to read when the
// child is dead: one line as a call of the handler begins, one as it ends. A
// write is one system call, so that a kill leaves whole lines.
type handlings struct {
	oona.Handler

	file *os.File
	mu   sync.Mutex
	call int
}

// Handle handles the batch, for at least a millisecond.
func (h *handlings) Handle(ctx context.Context, batch []*oona.Message) []oona.Result {
	h.mu.Lock()
	h.call++
	call := h.call
	h.mu.Unlock()
	line := fmt.Appendf(nil, "b %d %d", call, time.Now().UnixNano())
	for _, m := range batch {
		line = fmt.Appendf(line, " %s@%s", strings.TrimPrefix(requestID(m.Body), "req-"), m.ID)
	}
	if _, err := h.file.Write(append(line, '\n')); err != nil {
		return failAll(batch, err)
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
	results := h.Handler.Handle(ctx, batch)
	if _, err := fmt.Fprintf(h.file, "e %d %d\n", call, time.Now().UnixNano()); err != nil {
		return failAll(batch, err)
	}
	return results
}

func failAll(batch []*oona.Message, err error) []oona.Result {
	results := make([]oona.Result, len(batch))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// handling is one handling of a request by a child.
type handling struct {
	begin, end int64 // Unix ns
	by         *child
	entry      string // whoever publishes again makes another
}

func (h handling) overlaps(other handling) bool {
	return h.entry == other.entry && h.begin < other.end && other.begin < h.end
}

// readHandlings returns the handlings of each request. One that did not end was
// ended with its child, at the moment of the kill.
func readHandlings(t testing.TB, children []*child, requests int) [][]handling {
	all := make([][]handling, requests)
	for _, c := range children {
		text, err := os.ReadFile(c.handlings)
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed before it began
		}
		if err != nil {
			t.Fatal(err)
		}
		ends := make(map[string]int64)
		for line := range bytes.Lines(text) {
			if call, at, ok := strings.Cut(strings.TrimSpace(string(bytes.TrimPrefix(line, []byte("e ")))), " "); ok && line[0] == 'e' {
				ends[call], _ = strconv.ParseInt(at, 10, 64)
			}
		}
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			words := strings.Fields(s.Text())
			if len(words) < 4 || words[0] != "b" {
				continue
			}
			h := handling{end: c.ended.UnixNano(), by: c}
			h.begin, _ = strconv.ParseInt(words[2], 10, 64)
			if end, ok := ends[words[1]]; ok {
				h.end = end
			}
			for _, word := range words[3:] {
				request, entry, _ := strings.Cut(word, "@")
				h.entry = entry
				if i, err := strconv.Atoi(request); err == nil && i < requests {
					all[i] = append(all[i], h)
				}
			}
		}
	}
	return all
}

// span is a time in which something was not as usual.
type span struct{ from, to time.Time }

func (s span) touches(h handling) bool {
	return h.begin < s.to.UnixNano() && s.from.UnixNano() < h.end
}

// overlaps counts the requests that were handled more than once, those of them
// that were handled by two at the same time, and of these the ones for which
// there was no reason: neither had been frozen, nor Redis or the machine been too
// slow for heartbeats. Who was may have lost what it holds and not know it yet.
func overlaps(t testing.TB, all [][]handling, outages []span) (again, together, without int) {
	for request, hs := range all {
		repeated, overlapped, explained := false, false, true
		for i, a := range hs {
			for _, b := range hs[:i] {
				repeated = repeated || a.entry == b.entry
				if a.overlaps(b) {
					overlapped = true
					if disturbed(a, outages) || disturbed(b, outages) {
						continue
					}
					if explained && without < 5 {
						t.Logf("request %d: %s and %s", request, b, a)
					}
					explained = false
				}
			}
		}
		if repeated {
			again++
		}
		if overlapped {
			together++
		}
		if !explained {
			without++
		}
	}
	return again, together, without
}

// String says who handled, and when.
func (h handling) String() string {
	return fmt.Sprintf("%s from %s to %s", h.by.name, time.Unix(0, h.begin).Format("15:04:05.000"), time.Unix(0, h.end).Format("15:04:05.000"))
}

func disturbed(h handling, outages []span) bool {
	for _, s := range h.by.freezes {
		if s.touches(h) {
			return true
		}
	}
	for _, s := range outages {
		if s.touches(h) {
			return true
		}
	}
	return false
}
