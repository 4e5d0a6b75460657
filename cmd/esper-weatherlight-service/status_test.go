package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// testBus is a bus in this process, and who publishes on it.
type testBus struct {
	t      testing.TB
	url    string
	client *oona.Client
}

func newTestBus(t testing.TB) *testBus {
	t.Helper()
	t.Chdir(t.TempDir()) // no .env of somebody's
	return listenTestBus(t)
}

// listenTestBus is newTestBus for tests in parallel, which read no settings.
func listenTestBus(t testing.TB) *testBus {
	t.Helper()
	bus, err := oonatest.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	return &testBus{t, bus.URL(), busClient(t, bus.URL(), "test")}
}

func (b *testBus) publish(msgs ...proto.Message) {
	b.t.Helper()
	if _, err := b.client.Publish(b.t.Context(), msgs...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *testBus) environ(pairs ...string) []string {
	return append([]string{"REDIS_URL=" + b.url, "ESPER_LEYLINE_SECRET=" + testSecret}, pairs...)
}

// runCommand runs one command in this process, as root would.
func runCommand(t *testing.T, environ []string, asJSON bool, command func(*app) *cobra.Command, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdio: stdio{strings.NewReader(""), &out, &errs}, environ: environ, json: asJSON}
	cmd := command(a)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	code, message := exitCode(cmd.ExecuteContext(t.Context()))
	return code, out.String(), errs.String() + message
}

// hostPacket is a packet of a process on this host.
func hostPacket(t *testing.T, boot string, status pb.HealthStatus, summary string) *pb.TelemetryPacket {
	t.Helper()
	s := newStory(identity{newIdentity().Host, boot}.instance())
	s.procs[0].status, s.procs[0].summary = status, summary
	return s.procs[0].packet(time.Now())
}

const (
	isHealthy  = pb.HealthStatus_HEALTH_STATUS_HEALTHY
	isDegraded = pb.HealthStatus_HEALTH_STATUS_DEGRADED
	isCritical = pb.HealthStatus_HEALTH_STATUS_CRITICAL
)

func TestStatusCommand(t *testing.T) {
	bus := newTestBus(t)
	first := hostPacket(t, "0123456789ab", isHealthy, "steady")
	second := hostPacket(t, "0123456789ab", isDegraded, "backoff")
	second.Timestamp = timestamppb.New(first.GetTimestamp().AsTime().Add(10 * time.Second))
	second.Metrics = append(second.Metrics, &pb.MetricPoint{Name: "urza.prefetch.hits", Value: 1000})
	bus.publish(first, &pb.TelemetryPacket{SourceSubsystem: "tolaria", Timestamp: timestamppb.Now()})
	bus.publish(second, &pb.EmergencySignal{Level: pb.EmergencyLevel_EMERGENCY_LEVEL_NOTICE, Reason: "drill"})

	code, stdout, stderr := runCommand(t, bus.environ(), true, (*app).statusCommand)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var v fleetView
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Instances) != 1 || v.Instances[0].Summary != "backoff" || v.Instances[0].RatePerS != 100 {
		t.Errorf("processes: %+v", v.Instances)
	}
	if v.Emergency.Level != "notice" || v.Emergency.Reason != "drill" || len(v.Others) != 1 || v.Others[0].Source != "tolaria" {
		t.Errorf("emergency %+v, others %+v", v.Emergency, v.Others)
	}
	code, stdout, stderr = runCommand(t, bus.environ(), false, (*app).statusCommand)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "urza_prefetch") || !strings.Contains(stdout, "LAST SEEN") || !strings.Contains(stdout, "s ago ") || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestStatusOnADeletedEnd: a stream whose last entry was deleted is read to its
// end all the same.
func TestStatusOnADeletedEnd(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	receipts, err := bus.client.Publish(t.Context(), &pb.TelemetryPacket{SourceSubsystem: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	rdb := redisClient(t, bus.url)
	if err := rdb.XDel(t.Context(), "oona.telemetry", receipts[0].ID.String()).Err(); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runCommand(t, bus.environ(), false, (*app).statusCommand)
	if code != 0 || !strings.Contains(stdout, "HEALTHY") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestStatusWithAnotherSecret says so, instead of saying that nobody is there.
func TestStatusWithAnotherSecret(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	code, stdout, _ := runCommand(t, bus.environ("ESPER_LEYLINE_SECRET=another secret"), false, (*app).statusCommand)
	if code != 0 || !strings.Contains(stdout, "1 message of the last 5m00s without a signature") || !strings.Contains(stdout, "ESPER_LEYLINE_SECRET") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// TestHealthcheckWithAnotherSecret: it hears nothing of this host, and says why
// that may be.
func TestHealthcheckWithAnotherSecret(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	code, stdout, _ := runCommand(t, bus.environ("ESPER_LEYLINE_SECRET=another secret"), false, (*app).healthcheckCommand)
	if code != exitAnswer || !strings.Contains(stdout, "no telemetry of host") || !strings.Contains(stdout, "\nwarning: 1 message on the bus without a signature that this command accepts") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// TestUnverifiedIsForgotten: a watched fleet is not accused for ever of what did
// not verify once.
func TestUnverifiedIsForgotten(t *testing.T) {
	bus := newTestBus(t)
	o := newObserver(bus.client)
	o.client.Refusals().Add(bus.client.Streams().Telemetry, pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY, leyline.BadSignature, 2)
	o.client.Refusals().Add(bus.client.Streams().Telemetry, pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY, leyline.Stale, 5) // somebody of ours
	now := storyStart
	for _, test := range []struct {
		after time.Duration
		want  int
	}{{0, 2}, {time.Minute, 2}, {time.Minute + 1, 0}} {
		if got := o.countUnverified(now.Add(test.after), time.Minute); got != test.want {
			t.Errorf("after %v: %d, want %d", test.after, got, test.want)
		}
	}
	o.client.Refusals().Add(bus.client.Streams().Emergency, 0, leyline.Unsigned, 1)
	if got := o.countUnverified(now.Add(time.Hour), time.Minute); got != 3 {
		t.Errorf("%d after another one, want 3", got)
	}
}

func TestStatusWithoutRedis(t *testing.T) {
	t.Chdir(t.TempDir())
	environ := []string{"REDIS_URL=redis://:hunter2@127.0.0.1:1", "ESPER_LEYLINE_SECRET=" + testSecret}
	for _, test := range []struct {
		command func(*app) *cobra.Command
		args    []string
	}{
		{(*app).statusCommand, nil}, {(*app).healthcheckCommand, nil}, {(*app).prefetchCommand, []string{"BP001"}},
	} {
		code, stdout, stderr := runCommand(t, environ, false, test.command, append(test.args, "--timeout", "200ms")...)
		line, remedy, _ := strings.Cut(stderr, "\n→ ")
		if code != 1 || stdout != "" || !strings.Contains(line, "127.0.0.1:1") || strings.Contains(stderr, "hunter2") {
			t.Errorf("exit code %d: %s%s", code, stdout, stderr)
		}
		for _, said := range []string{"Is redis-server up", "PONG", "REDIS_URL is redis://***@127.0.0.1:1"} {
			if !strings.Contains(remedy, said) {
				t.Errorf("the remedy does not say %q: %s", said, remedy)
			}
		}
	}
}

// TestStatusWithoutPassword: a Redis that answers and refuses is not one that is
// away.
func TestStatusWithoutPassword(t *testing.T) {
	server := redistest.Start(t)
	t.Chdir(t.TempDir())
	if err := server.Client().ConfigSet(t.Context(), "requirepass", "hunter2").Err(); err != nil {
		t.Fatal(err)
	}
	environ := []string{"REDIS_URL=" + server.URL(), "ESPER_LEYLINE_SECRET=" + testSecret}
	code, stdout, stderr := runCommand(t, environ, false, (*app).statusCommand)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "\n→ Redis answers, but not to this user: give user and password") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestStatusUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"--since", "0s"}, {"--timeout", "-1s"}, {"extra"}} {
		code, _, stderr := runCommand(t, nil, false, (*app).statusCommand, args...)
		if code != 2 || strings.Contains(stderr, "\n") {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}

func TestHealthcheckCommand(t *testing.T) {
	for _, test := range []struct {
		name    string
		packets func(t *testing.T) []proto.Message
		code    int
		says    string
	}{
		{"nobody", func(*testing.T) []proto.Message { return nil }, 3, "not healthy: no telemetry of host"},
		{"steady", func(t *testing.T) []proto.Message {
			return []proto.Message{hostPacket(t, "a", isCritical, "no_worker_running"), hostPacket(t, "a", isHealthy, "steady")}
		}, 0, "healthy: its newest packet is fresh"},
		{"degraded", func(t *testing.T) []proto.Message {
			return []proto.Message{hostPacket(t, "a", isDegraded, "backoff")}
		}, 0, "healthy"},
		{"critical", func(t *testing.T) []proto.Message {
			return []proto.Message{hostPacket(t, "a", isCritical, "no_worker_running")}
		}, 3, "its health is critical"},
		{"shut down", func(t *testing.T) []proto.Message {
			return []proto.Message{hostPacket(t, "a", isHealthy, summaryShutdown)}
		}, 3, "has shut down"},
		{"the next process is up", func(t *testing.T) []proto.Message {
			return []proto.Message{hostPacket(t, "b", isHealthy, "steady"), hostPacket(t, "a", isHealthy, summaryShutdown)}
		}, 0, "healthy"},
		{"another host", func(t *testing.T) []proto.Message {
			p := hostPacket(t, "a", isHealthy, "steady")
			p.SystemHealth.Indicators["instance"] = newIdentity().Host + "-2-0123456789ab"
			return []proto.Message{p}
		}, 3, "no telemetry of host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bus := newTestBus(t)
			if packets := test.packets(t); len(packets) > 0 {
				bus.publish(packets...)
			}
			code, stdout, stderr := runCommand(t, bus.environ(), false, (*app).healthcheckCommand)
			if code != test.code || !strings.HasPrefix(stdout, test.says) && !strings.Contains(stdout, test.says) || strings.Contains(stderr, "exit") {
				t.Errorf("exit code %d, want %d: %s%s", code, test.code, stdout, stderr)
			}
			code, stdout, _ = runCommand(t, bus.environ(), true, (*app).healthcheckCommand)
			var c checkup
			if err := json.Unmarshal([]byte(stdout), &c); err != nil || code != test.code || c.Healthy != (test.code == 0) {
				t.Errorf("exit code %d, %v: %s", code, err, stdout)
			}
		})
	}
}

// TestCheckupAge: three intervals old is still healthy, more is not.
func TestCheckupAge(t *testing.T) {
	const interval = 10 * time.Second
	s := newStory("alpha-1")
	s.ticks(3, 1)
	for _, test := range []struct {
		age     time.Duration
		healthy bool
	}{{0, true}, {3 * interval, true}, {3*interval + 1, false}, {-time.Hour, true}} {
		if c := s.fleet.checkup("alpha", s.now.Add(test.age), interval); c.Healthy != test.healthy {
			t.Errorf("after %v: %v", test.age, c)
		}
	}
}

// TestPythonPacket: what the Python side sends is shown, though it does not name
// its process.
func TestPythonPacket(t *testing.T) {
	text, err := os.ReadFile("../../leyline/testdata/vectors/messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Messages []struct {
			Name      string `json:"name"`
			Envelope  string `json:"envelope_hex"`
			Signature string `json:"signature_b64"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	bus := newTestBus(t)
	for _, v := range vectors.Messages {
		payload, err := hex.DecodeString(v.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		if v.Name == "TelemetryPacket" {
			values := map[string]any{"payload": payload, "signature": v.Signature}
			if err := redisClient(t, bus.url).XAdd(t.Context(), &redis.XAddArgs{Stream: "oona.telemetry", Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, stdout, stderr := runCommand(t, bus.environ(), false, (*app).statusCommand)
	if code != 0 || !strings.Contains(stdout, "weatherlight  healthy  steady") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}
