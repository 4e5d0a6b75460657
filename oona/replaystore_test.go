package oona_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinetest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestReplayStoreConforms runs on Redis alone, and without waiting for the disk:
// it makes ten thousands of claims, one by one.
func TestReplayStoreConforms(t *testing.T) {
	c := newClient(t, redistest.Start(t, "--appendfsync", "no").Client(), "a")
	leylinetest.TestReplayStore(t, func(t *testing.T) leyline.ReplayStore { return c.ReplayStore(t.Name()) })
}

// A nonce outlives the time it is asked for by the message TTL; a claim that
// comes later still is refused, because nobody can tell any more.
func TestReplayStoreRefusesWhatItCannotTell(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		s := newClient(t, rdb, "a").ReplayStore("test")
		claim := func(age time.Duration, holder string) error {
			issued := time.Now().Add(-age)
			_, err := s.Claim(t.Context(), leyline.Claim{Nonce: "n", Holder: holder, IssuedAt: issued, Arrival: issued}, issued.Add(65*time.Second))
			return err
		}
		if err := claim(time.Hour, "1-0"); !errors.Is(err, leyline.Stale) {
			t.Errorf("an hour late: %v, want %v", err, leyline.Stale)
		}
		if err := claim(10*time.Minute, "1-0"); err != nil {
			t.Errorf("ten minutes late: %v", err)
		}
		if err := claim(10*time.Minute, "2-0"); !errors.Is(err, leyline.Replayed) {
			t.Errorf("again: %v, want %v", err, leyline.Replayed)
		}
		for _, key := range rdb.Keys(t.Context(), "oona:claims:*").Val() {
			if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 20*time.Minute {
				t.Errorf("%s expires in %v", key, ttl)
			}
		}
	})
}
