package oona_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// A server that loses messages by design is refused, or warned of.
func TestServerThatLosesMessages(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		err  error
		log  string
	}{
		{"evicts", []string{"--maxmemory-policy", "allkeys-lru"}, oona.ErrEvicting, ""},
		{"evicts what expires", []string{"--maxmemory-policy", "volatile-ttl"}, oona.ErrEvicting, ""},
		{"forgets", []string{"--appendonly", "no"}, nil, "no append-only file"},
		{"keeps", nil, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t, test.args...)
			var log bytes.Buffer
			c, err := oona.Connect(t.Context(), oona.Config{URL: server.URL(), Codec: newCodec(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err == nil {
				_ = c.Close()
			}
			if test.log == "" && log.Len() > 0 || !strings.Contains(log.String(), test.log) {
				t.Errorf("logged %q, want %q", log.String(), test.log)
			}
		})
	}
}

// A connection that breaks as the server is asked how it is configured does not
// pass for a server that keeps everything.
func TestServerIsAskedUntilItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		defer func() { _ = rdb.Close() }()
		f.At(2, oonatest.Fault{Kind: oonatest.BreakBefore})
		if _, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t)}); err != nil {
			t.Fatal(err)
		}
		asked := 0
		for _, name := range f.Commands() {
			if name == "CONFIG" {
				asked++
			}
		}
		if asked < 2 {
			t.Errorf("asked %d times: %v", asked, f.Commands())
		}
		time.Sleep(time.Second)
	})
}
