package main

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
	"github.com/esper-lite/esper/weatherlight"
)

// A process with another secret than the fleet says so at its start; one with the
// right secret, or that is alone, does not.
func TestAnotherSecretIsTold(t *testing.T) {
	t.Parallel()
	const told = "nothing that others sent verifies"
	server := redistest.Start(t)
	env := serviceEnv(server)
	first := start(t, serviceDir(t), env)
	client := server.Client()
	eventually(t, func() error {
		return errIf(client.XLen(t.Context(), "oona.telemetry").Val() == 0, "no telemetry yet")
	})
	second := start(t, serviceDir(t), env)
	stranger := start(t, serviceDir(t), with(env, "ESPER_LEYLINE_SECRET", "another-secret-of-ours"))
	eventually(t, func() error {
		return errIf(!strings.Contains(stranger.stderr.String(), told), "not told yet")
	})
	for _, test := range []struct{ command, said string }{
		{"healthcheck", "healthy: "}, {"healthcheck", "degraded, secret_mismatch"}, {"healthcheck", "warning: " + secretMismatchText},
		{"status", "▲ " + newIdentity().Host}, {"status", secretMismatchText},
	} {
		eventually(t, func() error {
			code, stdout, stderr := runProgram(t, t.TempDir(), with(env, "ESPER_LEYLINE_SECRET", "another-secret-of-ours"), test.command)
			return errIf(code != 0 || !strings.Contains(stdout, test.said), "exit code "+strconv.Itoa(code)+": "+stdout+stderr)
		})
	}
	pass(t, secretCheckTime)
	for _, p := range []*process{first, second} {
		if strings.Contains(p.stderr.String(), told) {
			t.Errorf("told without a reason: %s", p.stderr.String())
		}
	}
}

// A doubt needs something of others that does not verify, and nothing that does;
// what is in doubt goes on, degraded and not unready.
func TestSecretCheck(t *testing.T) {
	keysOf := func(secret string) *leyline.Keyring {
		keys, err := leyline.NewKeyring(leyline.NewSecret(secret))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	self := identity{"alpha", "0123456789ab"}
	garbage := func(t *testing.T, bus *testBus) {
		values := map[string]any{"payload": "x", "signature": strings.Repeat("A", 43) + "="}
		if err := redisClient(t, bus.url).XAdd(t.Context(), &redis.XAddArgs{Stream: "oona.telemetry", Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	own := func(t *testing.T, bus *testBus) {
		codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keysOf(testSecret), Source: self.source("weatherlight")})
		if err != nil {
			t.Fatal(err)
		}
		payload, signature, err := codec.Seal(nil, hostPacket(t, "0123456789ab", isHealthy, "steady"), leyline.Header{IssuedAt: time.Now(), Audience: "oona.telemetry"})
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{"payload": payload, "signature": signature[:]}
		if err := redisClient(t, bus.url).XAdd(t.Context(), &redis.XAddArgs{Stream: "oona.telemetry", Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	other := func(t *testing.T, bus *testBus) { bus.publish(hostPacket(t, "ba9876543210", isHealthy, "steady")) }
	request := func(t *testing.T, bus *testBus) { publishRequests(t, bus.client, 0, 1) }
	stranger := func(t *testing.T, bus *testBus) {
		publishRequests(t, busClientWith(t, bus.url, "test", keysOf("another secret of ours")), 0, 1)
	}
	type sent func(*testing.T, *testBus)
	for _, test := range []struct {
		name     string
		sent     []sent
		doubtful bool
	}{
		{"nobody", nil, false},
		{"only ours", []sent{own}, false},
		{"another process", []sent{other}, false},
		{"a trainer", []sent{request}, false},
		{"another secret", []sent{stranger}, true},
		{"another secret, and ours", []sent{own, stranger}, true},
		{"garbage on an idle bus", []sent{garbage}, true},
		{"garbage, and another process", []sent{garbage, garbage, other, garbage}, false},
		{"garbage, and a trainer", []sent{garbage, request, stranger}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bus := listenTestBus(t)
			for _, send := range test.sent {
				send(t, bus)
			}
			s, err := parseSettings(map[string]string{"REDIS_URL": bus.url})
			if err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			c := newSecretCheck(s, keysOf(testSecret), self, bus.client.Refusals(), slog.New(slog.NewTextHandler(&log, nil)))
			c.check(t.Context())
			told := strings.Contains(log.String(), "nothing that others sent verifies")
			if figure := c.AppendMetrics(nil)[0]; c.doubtful.Load() != test.doubtful || told != test.doubtful || figure.Value != 0 != test.doubtful || (c.degraded() != "") != test.doubtful {
				t.Errorf("doubtful is %v, figure %v, degraded %q; want %v: %s", c.doubtful.Load(), figure.Value, c.degraded(), test.doubtful, log.String())
			}
			other(t, bus) // clears it
			c.check(t.Context())
			if cleared := strings.Contains(log.String(), "in doubt no longer"); c.doubtful.Load() || cleared != test.doubtful {
				t.Errorf("doubtful is still %v, told %v", c.doubtful.Load(), cleared)
			}
		})
	}
}

// It looks at the start, and from then on only while there is a reason to; while
// the bus is away the doubt stays.
func TestSecretCheckLooksWhenThereIsAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusals leyline.Refusals
		c := newSecretCheck(settings{}, nil, identity{}, &refusals, slog.New(slog.DiscardHandler))
		var looked atomic.Int64
		var unverified, away atomic.Bool
		c.listen = func(context.Context) (bool, uint64, error) {
			looked.Add(1)
			if away.Load() {
				return false, 0, oona.ErrBreakerOpen
			}
			return !unverified.Load(), refusals.Total(leyline.BadSignature), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.run(ctx) })
		wants := func(after time.Duration, times int64, doubtful bool) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := looked.Swap(0); n != times || c.doubtful.Load() != doubtful {
				t.Errorf("looked %d times, doubtful %v; want %d, %v", n, c.doubtful.Load(), times, doubtful)
			}
		}
		wants(time.Second, 1, false)
		wants(10*secretCheckEvery, 0, false)
		refusals.Add("s", 0, leyline.BadSignature, 1)
		wants(10*secretCheckEvery, 1, false)
		unverified.Store(true)
		refusals.Add("s", 0, leyline.BadSignature, 1)
		wants(10*secretCheckEvery, 10, true)
		unverified.Store(false)
		away.Store(true)
		wants(10*secretCheckEvery, 10, true)
		away.Store(false)
		wants(10*secretCheckEvery, 1, false)
		cancel()
		running.Wait()
	})
}

// Garbage makes no healthy process unready: its health is degraded at most, and
// /healthz and healthcheck say that it serves.
func TestDoubtIsNotUnready(t *testing.T) {
	s := newStory(identity{newIdentity().Host, "0123456789ab"}.instance())
	s.procs[0].figures[figureSecretMismatch] = 1
	s.procs[0].status, s.procs[0].summary = isDegraded, summarySecretMismatch
	s.ticks(2, 1)
	c := s.fleet.checkup(newIdentity().Host, s.now, 10*time.Second)
	if !c.Healthy || !strings.Contains(c.String(), "\nwarning: "+secretMismatchText+"\n→ ") {
		t.Errorf("%v", c)
	}
	v := s.view()
	if v.Health != "degraded" || len(v.Problems) != 1 || v.Problems[0].Severity != severityWarning || v.Problems[0].Text != secretMismatchText {
		t.Errorf("%s: %+v", v.Health, v.Problems)
	}
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		t.Fatal(err)
	}
	reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor: supervisor, Publisher: packetPublisher{}, Instance: "x", Degraded: func() string { return summarySecretMismatch },
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, summary := reporter.Health(); status != isDegraded || summary != summarySecretMismatch {
		t.Errorf("health is %v, %s", status, summary)
	}
}
