package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// bus is a bus in this process and a receiver on it.
type bus struct {
	t         *testing.T
	redis     *redis.Client
	client    *oona.Client
	receiver  *receiver
	documents *documentLog
	page      string // its address
}

// documentLog holds the documents written so far.
type documentLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *documentLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *documentLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

func newBus(t *testing.T) *bus {
	t.Helper()
	server := oonatest.New()
	t.Cleanup(server.Close)
	keys, err := leyline.NewKeyring(leyline.NewSecret("golden-secret"))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "test/here-1"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bus{t: t, redis: server.Redis(), documents: new(documentLog)}
	t.Cleanup(func() { _ = b.redis.Close() })
	if b.client, err = oona.New(t.Context(), b.redis, oona.Config{Codec: codec, Consumer: "nissa-test"}); err != nil {
		t.Fatal(err)
	}
	b.receiver = newReceiver(b.documents, slog.New(slog.DiscardHandler))
	page := httptest.NewServer(b.receiver.routes())
	t.Cleanup(page.Close)
	b.page = page.URL
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.receiver.receive(ctx, b.client) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestHealthcheck(t *testing.T) {
	page := httptest.NewServer(newReceiver(new(documentLog), slog.New(slog.DiscardHandler)).routes())
	addr := page.Listener.Addr().String()
	if err := healthcheck(t.Context(), addr); err != nil {
		t.Error(err)
	}
	page.Close()
	if healthcheck(t.Context(), addr) == nil || healthcheck(t.Context(), "9464") == nil {
		t.Error("healthy without a nissa")
	}
}

func (b *bus) publish(msgs ...proto.Message) {
	b.t.Helper()
	if _, err := b.client.Publish(b.t.Context(), msgs...); err != nil {
		b.t.Fatal(err)
	}
}

// await waits until n documents are written, for at most 20 seconds.
func (b *bus) await(n int) []map[string]any {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for len(b.documents.lines()) < n || b.documents.lines()[0] == "" {
		select {
		case <-deadline:
			b.t.Fatalf("%d documents, want %d: %v", len(b.documents.lines()), n, b.documents.lines())
		case <-time.After(5 * time.Millisecond):
		}
	}
	var all []map[string]any
	for _, line := range b.documents.lines() {
		var document map[string]any
		if err := json.Unmarshal([]byte(line), &document); err != nil {
			b.t.Fatalf("%v: %s", err, line)
		}
		all = append(all, document)
	}
	return all
}

func (b *bus) get(path string) string {
	b.t.Helper()
	response, err := http.Get(b.page + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Fatalf("status %d, %v: %s", response.StatusCode, err, text)
	}
	return string(text)
}

func packetOf(source, instance string, metrics ...*pb.MetricPoint) *pb.TelemetryPacket {
	return &pb.TelemetryPacket{
		PacketId:        source + "-1",
		SourceSubsystem: source,
		Timestamp:       timestamppb.Now(),
		Metrics:         metrics,
		SystemHealth: &pb.SystemHealth{
			Status: pb.HealthStatus_HEALTH_STATUS_DEGRADED, Summary: "backoff", Indicators: map[string]string{"instance": instance},
		},
	}
}

func TestReceivesTelemetry(t *testing.T) {
	b := newBus(t)
	first := packetOf("weatherlight", "alpha-1",
		&pb.MetricPoint{Name: "oona.held", Value: 1}, &pb.MetricPoint{Name: "oona.held", Value: 7},
		&pb.MetricPoint{Name: "oona.queue.depth", Value: math.NaN()},
		&pb.MetricPoint{Name: "weatherlight.worker.telemetry.running", Value: 1})
	first.Events = []*pb.TelemetryEvent{{Description: "worker_error", Level: pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING}}
	b.publish(first, packetOf("weatherlight", "beta-1", &pb.MetricPoint{Name: "oona.held", Value: 2}),
		packetOf("tolaria", ""), &pb.SystemStatePacket{PacketId: "s1", TrainingRunId: "run-1"})
	b.publish(&pb.AdaptationCommand{CommandId: "c1", IssuedAt: timestamppb.Now()}) // for somebody else: passed over
	documents := b.await(4)

	// What is handled side by side is written in any order.
	at := slices.IndexFunc(documents, func(d map[string]any) bool { return strings.Contains(fmt.Sprint(d), "alpha-1") })
	if at < 0 {
		t.Fatalf("no document of alpha-1: %v", documents)
	}
	document := documents[at]
	if document["stream"] != "oona.telemetry" || document["message"].(map[string]any)["source_subsystem"] != "weatherlight" || document["signer"] != "test/here-1" {
		t.Errorf("document of alpha-1: %v", document)
	}
	want := map[string]any{"oona.held": 7.0, "weatherlight.worker.telemetry.running": 1.0}
	if diff := cmp.Diff(want, document["values"]); diff != "" {
		t.Errorf("values by name (-want +got):\n%s", diff)
	}
	page := b.get("/metrics")
	for _, line := range []string{
		`esper_telemetry_packets_total{source="weatherlight"} 2`,
		`esper_telemetry_packets_total{source="tolaria"} 1`,
		`esper_telemetry_events_total{description="worker_error",level="TELEMETRY_LEVEL_WARNING",source="weatherlight"} 1`,
		`esper_oona_held{instance="alpha-1",source="weatherlight"} 7`,
		`esper_oona_held{instance="beta-1",source="weatherlight"} 2`,
		`esper_weatherlight_worker_running{instance="alpha-1",source="weatherlight",worker="telemetry"} 1`,
		`esper_health_status{instance="alpha-1",source="weatherlight"} 2`,
		`esper_nissa_documents_total{type="SystemStatePacket"} 1`,
		`esper_nissa_refused_total 0`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the page has no line %s", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if got := b.get("/healthz"); got != "ok\n" {
		t.Errorf("health: %q", got)
	}
}

// TestReceivesThePythonSide: every message of the Python side on the two streams
// becomes a document with the fields that it has.
func TestReceivesThePythonSide(t *testing.T) {
	text, err := os.ReadFile("../../leyline/testdata/vectors/messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Messages []struct {
			Message   string         `json:"message"`
			Stream    string         `json:"stream"`
			Fields    map[string]any `json:"fields"`
			Envelope  string         `json:"envelope_hex"`
			Signature string         `json:"signature_b64"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	b := newBus(t)
	want := make(map[string]map[string]any)
	for _, v := range vectors.Messages {
		name := strings.TrimPrefix(v.Message, "esper.leyline.v1.")
		if v.Stream != "oona.telemetry" && v.Stream != "oona.normal" || name == "AdaptationCommand" {
			continue
		}
		want[name] = v.Fields
		payload, err := hex.DecodeString(v.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{"payload": payload, "signature": v.Signature}
		if err := b.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: v.Stream, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) < 4 {
		t.Fatalf("only %d messages in the vectors", len(want))
	}
	for _, document := range b.await(len(want)) {
		name := document["type"].(string)
		message := document["message"].(map[string]any)
		for field := range want[name] {
			if _, ok := message[field]; !ok {
				t.Errorf("%s: the document has no %s", name, field)
			}
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("no document of %s", name)
	}
}

// TestRefusesWhatIsNoTime: a time that JSON cannot say ends in the dead letters, as
// Nissa fails on it, and holds up nobody.
func TestRefusesWhatIsNoTime(t *testing.T) {
	b := newBus(t)
	bad := packetOf("weatherlight", "alpha-1")
	bad.Timestamp = &timestamppb.Timestamp{Seconds: 1 << 60}
	b.publish(bad, packetOf("weatherlight", "beta-1"))
	b.await(1)
	// It is written with the commit, which comes after it was handled; what follows it
	// may be handled before.
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, err := b.redis.XLen(t.Context(), "oona.deadletter").Result()
		if err == nil && n == 1 {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d dead letters, %v", n, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if page := b.get("/metrics"); !strings.Contains(page, "esper_nissa_refused_total 1\n") || strings.Contains(page, "alpha-1") {
		t.Errorf("the page:\n%s", page)
	}
}

// TestBounded: neither processes nor events pile up, and who is silent goes.
func TestBounded(t *testing.T) {
	r := newReceiver(io.Discard, slog.New(slog.DiscardHandler))
	at := time.Date(2025, 9, 25, 12, 0, 0, 0, time.UTC)
	for i := range 2 * maxProcesses {
		packet := packetOf(fmt.Sprintf("source%d", i), "x")
		packet.Events = []*pb.TelemetryEvent{{Description: fmt.Sprintf("event%d", i)}}
		r.Handle(t.Context(), []*oona.Message{{Arrival: at, Body: packet}})
	}
	if len(r.processes) > maxProcesses || len(r.packets) > maxProcesses+1 || len(r.events) > maxEvents+1 {
		t.Errorf("%d processes, %d sources, %d events", len(r.processes), len(r.packets), len(r.events))
	}
	total := 0.0
	for _, n := range r.packets {
		total += n
	}
	if total != 2*maxProcesses {
		t.Errorf("%v packets counted, want %d", total, 2*maxProcesses)
	}
	r.Handle(t.Context(), []*oona.Message{{Arrival: at.Add(2 * silence), Body: packetOf("late", "y")}})
	if len(r.processes) != 1 {
		t.Errorf("%d processes are shown, want only the one that is not silent", len(r.processes))
	}
	last := packetOf("late", "y")
	last.SystemHealth.Summary = farewell
	r.Handle(t.Context(), []*oona.Message{{Arrival: at.Add(2 * silence), Body: last}})
	if len(r.processes) != 0 {
		t.Error("a process that said that it stops is still shown")
	}
}

// TestFullDisk: what could not be written is tried again and not counted.
func TestFullDisk(t *testing.T) {
	r := newReceiver(failing{}, slog.New(slog.DiscardHandler))
	results := r.Handle(t.Context(), []*oona.Message{{Body: packetOf("weatherlight", "x")}})
	if results[0].Err == nil || len(r.packets) != 0 {
		t.Errorf("result %v, %d sources", results[0].Err, len(r.packets))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
