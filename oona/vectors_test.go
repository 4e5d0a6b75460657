package oona_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// vectorFile is testdata/entries.json: entries that the Python side wrote, or
// that an attacker could, and the outcome that we want.
type vectorFile struct {
	NowMs int64        `json:"now_ms"`
	Cases []vectorCase `json:"cases"`
}

type vectorCase struct {
	Name    string        `json:"name"`
	Entries []vectorEntry `json:"entries"`
	Want    []string      `json:"want"`
	Handler string        `json:"handler"`
}

type vectorEntry struct {
	Stream       string              `json:"stream"`
	PayloadHex   *string             `json:"payload_hex"`
	SignatureHex *string             `json:"signature_hex"`
	OtherFields  map[string][]string `json:"other_fields"`
}

func (e vectorEntry) fields(t *testing.T) map[string]any {
	t.Helper()
	fields := make(map[string]any)
	for name, text := range map[string]*string{"payload": e.PayloadHex, "signature": e.SignatureHex} {
		if text == nil {
			continue
		}
		raw, err := hex.DecodeString(*text)
		if err != nil {
			t.Fatal(err)
		}
		fields[name] = string(raw)
	}
	for _, names := range e.OtherFields {
		for _, name := range names {
			fields[name] = "1"
		}
	}
	return fields
}

// TestVectorEntries uses a handler that must not see a replay, so nonces are
// claimed first. It adds the entries of each case at the time of the vectors and
// looks what became of each.
func TestVectorEntries(t *testing.T) {
	text, err := os.ReadFile("testdata/entries.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) { runVectorCase(t, time.UnixMilli(file.NowMs), c) })
	}
}

func runVectorCase(t *testing.T, now time.Time, c vectorCase) {
	server := miniredis.RunT(t)
	server.SetTime(now)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	client := newClient(t, rdb, "a")
	stream := c.Entries[0].Stream
	var ids []string
	for _, e := range c.Entries {
		ids = append(ids, add(t, rdb, stream, e.fields(t)))
	}
	h := &recorder{calls: make(map[string]int)}
	if c.Handler == "fails" {
		h.err = errors.New("as always")
	}
	types := map[string][]pb.BusMessageType{
		"oona.kernels.requests": {pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST},
		"oona.kernels.ready":    {pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY, pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE},
	}
	stop := consume(t, client, oona.Subscription{Stream: stream, Types: types[stream], ClaimFirst: true, MaxAttempts: 3, RetryBase: 1, RetryMax: 1}, h)
	eventually(t, settled(t, rdb, stream, int64(len(ids))))
	stop()
	var got []string
	refusals := client.Refusals().Snapshot()
	for _, id := range ids {
		got = append(got, h.outcome(t, rdb, client, id, &refusals))
	}
	if diff := cmp.Diff(c.Want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// recorder counts how often each entry was handled.
type recorder struct {
	mu    sync.Mutex
	calls map[string]int
	err   error
}

func (r *recorder) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([]oona.Result, len(batch))
	for i, m := range batch {
		r.calls[m.ID.String()]++
		results[i].Err = r.err
	}
	return results
}

// outcome names what became of an entry, in the words of the vectors. A refused
// entry leaves nothing but its count, which is taken from refusals.
func (r *recorder) outcome(t *testing.T, rdb *redis.Client, c *oona.Client, id string, refusals *[]leyline.Refusal) string {
	t.Helper()
	dead, err := rdb.XRange(t.Context(), c.Streams().DeadLetter, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dead {
		if d.Values["entry_id"] != id {
			continue
		}
		reason := d.Values["reason"].(string)
		switch {
		case reason == string(leyline.AttemptsExhausted) && r.calls[id] == 3:
			return "retried_then_dead_lettered"
		case r.calls[id] > 0:
			return fmt.Sprintf("handled %d times, then %s", r.calls[id], reason)
		}
		return reason
	}
	if r.calls[id] > 0 {
		return map[bool]string{true: "handled", false: fmt.Sprintf("handled %d times", r.calls[id])}[r.calls[id] == 1]
	}
	for i, refusal := range *refusals {
		if refusal.Count > 0 && !refusal.Reason.Authentic() {
			(*refusals)[i].Count--
			return string(refusal.Reason)
		}
	}
	return "vanished"
}
