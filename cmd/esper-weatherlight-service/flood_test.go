package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestFloodOfForgeries: tens of thousands of messages that are refused do not
// fill the log, and every one of them is counted.
func TestFloodOfForgeries(t *testing.T) {
	t.Parallel()
	const refusals = 60_000
	bus := redistest.Start(t)
	service := start(t, serviceDir(t), with(serviceEnv(bus), "WEATHERLIGHT_METRICS_ADDR", "127.0.0.1:0"))
	url := servedAt(t, service)
	rdb := redisClient(t, bus.URL())
	for n := range refusals / 1000 {
		pipe := rdb.Pipeline()
		for i := range 1000 {
			values := map[string]any{"payload": fmt.Sprintf("forged %d %d", n, i), "signature": strings.Repeat("A", 43) + "="}
			if i%3 == 0 { // a third is not signed at all
				delete(values, "signature")
			}
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: "oona.kernels.requests", Values: values})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const unsigned = refusals / 1000 * 334
	for reason, want := range map[string]int{"unsigned": unsigned, "bad_signature": refusals - unsigned} {
		line := fmt.Sprintf(`esper_oona_refused_total{reason=%q,stream="oona.kernels.requests",type="UNSPECIFIED"} %d`, reason, want)
		eventually(t, func() error {
			if _, page := get(t, url+"/metrics"); !strings.Contains(page, line+"\n") {
				return fmt.Errorf("the page has no %s", line)
			}
			return nil
		})
	}
	service.terminate(10 * time.Second)
	told := 0
	var refused []time.Time // of lines about refusals
	for line := range strings.Lines(service.stderr.String()) {
		var l struct {
			Time         time.Time
			Msg, Message string
			Count        int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case l.Msg == "refused":
			told++
		case l.Msg == "log records suppressed" && l.Message == "refused":
			told += l.Count
		default:
			continue
		}
		refused = append(refused, l.Time)
	}
	if told != refusals {
		t.Errorf("the log tells of %d refusals, want %d", told, refusals)
	}
	for first, last := 0, 0; last < len(refused); last++ {
		for refused[last].Sub(refused[first]) >= time.Second {
			first++
		}
		if n := last - first + 1; n > 10 {
			t.Errorf("%d lines within a second", n)
			break
		}
	}
	t.Logf("%d refusals in %v: %d lines", told, refused[len(refused)-1].Sub(refused[0]).Round(time.Millisecond), len(refused))
}
