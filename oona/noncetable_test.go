package oona_test

import (
	"testing"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestNoncesAreATable: where many are looked up at once, in a bucket that holds
// few, Redis does not go through all of it for each.
func TestNoncesAreATable(t *testing.T) {
	rdb := redistest.Start(t, "--appendfsync", "no").Client()
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	var keys []string
	for round, n := range []int{10, 200} {
		before := keys
		for _, id := range ids("req-", round*1000, round*1000+n) {
			publish(t, c, request(id))
		}
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, []int64{10, 210}[round]))
		stop()
		keys = rdb.Keys(t.Context(), "oona:nonces:*").Val()
		for _, key := range before {
			if got := rdb.ObjectEncoding(t.Context(), key).Val(); got != "hashtable" {
				t.Errorf("%s is a %s", key, got)
			}
		}
	}
	if len(keys) == 0 {
		t.Error("no nonces; nothing was looked at")
	}
}
