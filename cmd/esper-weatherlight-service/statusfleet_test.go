package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// TestDiagnosis: of each story the first line of the screen says what is wrong,
// and nothing else is said to be wrong.
func TestDiagnosis(t *testing.T) {
	for _, test := range []struct {
		story    string
		health   string
		problems []string // severity, subject, and part of the text
	}{
		{"steady", "healthy", nil},
		{"crash loop", "critical", []string{"critical worker tamiyo_policy on alpha-0123456789ab: crashes again and again, 12 restarts in the last minute: tamiyo: store policy"}},
		{"forged", "degraded", []string{"warning refused messages: 600,000 messages refused as bad_signature on oona.kernels.requests"}},
		{"dead letter", "degraded", []string{"warning dead letters: 1 message given up in the last minute: 1 attempts_exhausted on oona.kernels.requests"}},
		{"killed", "degraded", []string{"warning beta-ba9876543210: is silent, last seen 52s ago (it reports every 10s); it said \"steady\""}},
		{"late", "healthy", []string{"notice beta-ba9876543210: is late, last seen 18s ago (it reports every 10s); it said \"steady\""}},
		{"stopped", "healthy", nil},
		{"all stopped", "critical", []string{"critical the fleet: no Weatherlight process runs: the last one, alpha-0123456789ab, stopped in order 2s ago"}},
		{"nobody", "critical", []string{"critical the fleet: no Weatherlight process reports"}},
		{"halt", "critical", []string{`critical emergency signal: halt 3s ago: "loss is not finite" from tolaria`}},
		{"slow", "critical", []string{
			"critical alpha-0123456789ab: cannot read the catalogue",
			"warning alpha-0123456789ab: damaged artifacts, or such outside the library, were met in the last minute: 2",
			"warning prefetch: 1 of 20 answers takes more than 3.50 ms, the objective is 1.00 ms",
		}},
	} {
		t.Run(test.story, func(t *testing.T) {
			v := stories[test.story]().view()
			if v.Health != test.health {
				t.Errorf("health is %s, want %s", v.Health, test.health)
			}
			if len(v.Problems) != len(test.problems) {
				t.Fatalf("%d problems, want %d: %+v", len(v.Problems), len(test.problems), v.Problems)
			}
			for i, p := range v.Problems {
				said := fmt.Sprintf("%s %s: %s", p.Severity, p.Subject, p.Text)
				if !strings.HasPrefix(said, test.problems[i]) || p.Remedy == "" {
					t.Errorf("problem %d is\n%q, want\n%q, with a remedy %q", i, said, test.problems[i], p.Remedy)
				}
			}
		})
	}
}

// TestEveryStoryIsDiagnosed holds the table above to the stories.
func TestEveryStoryIsDiagnosed(t *testing.T) {
	for name, tell := range stories {
		v := tell().view()
		healthy := name == "steady" || name == "stopped"
		if healthy != (len(v.Problems) == 0) {
			t.Errorf("%s: %d problems", name, len(v.Problems))
		}
	}
}

func TestBusProblems(t *testing.T) {
	s := stories["steady"]()
	away := busView{Address: "redis.example:6379", Error: "oona: redis at redis.example:6379: dial tcp redis.example:6379: connection refused", AwayS: 75}
	v := s.fleet.view(s.now.Add(80*time.Second), 10*time.Second, away, queueReading{})
	if len(v.Problems) != 1 || !strings.Contains(v.Problems[0].Text, "does not answer since 1m15s: connection refused") {
		t.Errorf("with Redis away: %+v; want that, and nothing of silent processes", v.Problems)
	}
	var nobody fleet
	v = nobody.view(s.now, time.Second, busView{Reachable: true, Unverified: 12}, queueReading{})
	if len(v.Problems) != 1 || v.Problems[0].Severity != severityCritical || !strings.Contains(v.Problems[0].Remedy, "ESPER_LEYLINE_SECRET") {
		t.Errorf("with another secret: %+v", v.Problems)
	}
}

// TestUnverified: the innocent reason comes first, with what to do about it.
func TestUnverified(t *testing.T) {
	s := stories["steady"]()
	v := s.fleet.view(s.now, 10*time.Second, busView{Reachable: true, Unverified: 1, window: 5 * time.Minute}, queueReading{})
	if len(v.Problems) != 1 || v.Problems[0].Severity != severityWarning {
		t.Fatalf("problems: %+v", v.Problems)
	}
	p := v.Problems[0]
	if !strings.HasPrefix(p.Text, "1 message of the last 5m00s without a signature that this command accepts") {
		t.Errorf("text: %s", p.Text)
	}
	for _, said := range []string{"Most likely a process has another ESPER_LEYLINE_SECRET", "a key that a rotation dropped", "accept that key again", "Otherwise somebody forges"} {
		if !strings.Contains(p.Remedy, said) {
			t.Errorf("the remedy does not say %q: %s", said, p.Remedy)
		}
	}
}

// TestDeadLettersDealtWith: what counts is what lies there now; that there was
// something is told, but nothing is wrong any more.
func TestDeadLettersDealtWith(t *testing.T) {
	for _, test := range []struct {
		name    string
		waiting *int64
		health  string
		want    string
	}{
		{"some left", new(int64(1)), "degraded", "warning 1 message given up in the last minute: 1 attempts_exhausted on oona.kernels.requests"},
		{"not known", nil, "degraded", "warning 1 message given up in the last minute: 1 attempts_exhausted on oona.kernels.requests"},
		{"none left", new(int64(0)), "healthy", "notice 1 message given up in the last minute: 1 attempts_exhausted on oona.kernels.requests; since replayed or dropped, none is left"},
	} {
		s := stories["dead letter"]()
		v := s.fleet.view(s.now, 10*time.Second, busView{Reachable: true}, queueReading{DeadLetters: test.waiting})
		if v.Health != test.health || len(v.Problems) != 1 || v.Problems[0].Severity+" "+v.Problems[0].Text != test.want {
			t.Errorf("%s: %s, %+v; want %s, %s", test.name, v.Health, v.Problems, test.health, test.want)
		}
	}
}

// TestLate: after one and a half intervals without a packet a process is late,
// after three silent; what it said of itself that is worse is not hidden.
func TestLate(t *testing.T) {
	for _, test := range []struct {
		age    time.Duration
		said   pb.HealthStatus
		health string
		late   bool
	}{
		{15 * time.Second, isHealthy, "healthy", false},
		{15*time.Second + time.Millisecond, isHealthy, healthLate, true},
		{30 * time.Second, isHealthy, healthLate, true},
		{30*time.Second + time.Millisecond, isHealthy, healthSilent, false},
		{20 * time.Second, isDegraded, "degraded", true},
		{20 * time.Second, isCritical, "critical", true},
	} {
		s := newStory("alpha-1")
		s.procs[0].status = test.said
		s.ticks(3, 1)
		v := s.fleet.view(s.now.Add(test.age), 10*time.Second, busView{Reachable: true}, queueReading{})
		told := slices.ContainsFunc(v.Problems, func(p problem) bool { return strings.HasPrefix(p.Text, "is late, last seen ") })
		if i := v.Instances[0]; i.Health != test.health || i.late() != test.late || told != test.late {
			t.Errorf("after %v: %s, late %v, told %v; want %s, %v", test.age, i.Health, i.late(), told, test.health, test.late)
		}
	}
}

func TestQueueProblems(t *testing.T) {
	waiting := func(n int64) *int64 { return &n }
	for _, test := range []struct {
		name  string
		queue queueView
		want  int
	}{
		{"empty", queueView{Stream: "s", Group: "g", Waiting: waiting(0), Pending: waiting(0)}, 0},
		{"busy", queueView{Stream: "s", Waiting: waiting(4000), Pending: waiting(1000), OldestS: new(1.0)}, 0},
		{"deep", queueView{Stream: "s", Group: "g", Waiting: waiting(4001), Pending: waiting(1000)}, 1},
		{"old", queueView{Stream: "s", Waiting: waiting(1), Pending: waiting(1), OldestS: new(31.0)}, 1},
	} {
		s := stories["steady"]()
		v := s.fleet.view(s.now, 10*time.Second, busView{Reachable: true}, queueReading{Queues: []queueView{test.queue}})
		if len(v.Problems) != test.want {
			t.Errorf("%s: %d problems, want %d: %+v", test.name, len(v.Problems), test.want, v.Problems)
		}
	}
}

// TestWaitingForNobody: when nobody runs, what waits is told, with the remedy to
// start a process and not more of them.
func TestWaitingForNobody(t *testing.T) {
	for _, test := range []struct {
		story, text string
		age         float64
		problems    int
	}{
		{"all stopped", "stopped in order 0s ago; waiting for it: 1 message", 1, 1},
		{"all stopped", "stopped in order 0s ago; waiting for it: 1 message", 31, 2},
		{"nobody", "reports on this bus; waiting for it: 1 message", 1, 1},
		{"nobody", "reports on this bus; waiting for it: 1 message", 31, 2},
	} {
		s := stories[test.story]()
		read := queueReading{Queues: []queueView{
			{Stream: "oona.kernels.requests", Group: consumerGroup, Waiting: new(int64(1)), Pending: new(int64(0)), OldestS: &test.age},
			{Stream: "oona.normal", Group: "others", Waiting: new(int64(9)), Pending: new(int64(0)), OldestS: new(1.0)},
		}}
		v := s.fleet.view(s.now, 10*time.Second, busView{Reachable: true}, read)
		if v.Health != "critical" || len(v.Problems) != test.problems || !strings.HasSuffix(v.Problems[0].Text, test.text) {
			t.Errorf("%s, oldest %vs: %s, %+v", test.story, test.age, v.Health, v.Problems)
		}
		for _, p := range v.Problems {
			if !strings.Contains(strings.ToLower(p.Remedy), "start one") {
				t.Errorf("%s: %s: the remedy is %q", test.story, p.Text, p.Remedy)
			}
		}
	}
}

func TestPrefetchFigures(t *testing.T) {
	v := stories["steady"]().view()
	if math.Abs(v.Prefetch.RatePerS-624.8) > 0.01 {
		t.Errorf("%v prefetches/s, want those of both processes, 624.8", v.Prefetch.RatePerS)
	}
	// Of 10 answers 6 took up to 1 ms, 9 up to 2 ms, all up to 5 ms.
	for _, q := range []struct {
		name string
		got  *float64
		want float64
	}{{"p50", v.Prefetch.P50MS, 5.0 / 6}, {"p95", v.Prefetch.P95MS, 3.5}, {"p99", v.Prefetch.P99MS, 4.7}} {
		if q.got == nil || math.Abs(*q.got-q.want) > 1e-6 {
			t.Errorf("%s is %v, want %v", q.name, deref(q.got), q.want)
		}
	}
	if v.Prefetch.Hits != 2*12*3124 {
		t.Errorf("%v hits", v.Prefetch.Hits)
	}
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	for _, test := range []struct {
		name string
		cum  map[float64]float64
		q    float64
		want float64 // negative: none
	}{
		{"nothing", nil, 0.5, -1},
		{"no new value", map[float64]float64{1: 0, inf: 0}, 0.5, -1},
		{"lower bucket empty", map[float64]float64{5: 0, 10: 8, inf: 8}, 0.5, 7.5},
		{"beyond all bounds", map[float64]float64{5: 1, 10: 1, inf: 10}, 0.95, 10},
		{"upper bound told less", map[float64]float64{5: 4, 10: 3, inf: 4}, 1, 5},
	} {
		got := (&percentiles{cumulative: test.cum}).quantile(test.q)
		if got == nil && test.want < 0 {
			continue
		}
		if got == nil || *got != test.want {
			t.Errorf("%s: %v, want %v", test.name, deref(got), test.want)
		}
	}
}

// TestCountersStartAnew: a process that starts again under its name, as Python's
// do, is not taken for one that counts backwards.
func TestCountersStartAnew(t *testing.T) {
	s := newStory("alpha-1")
	s.ticks(6, 100)
	s.procs[0].figures["urza.prefetch.hits"] = 0
	s.tick(50)
	steps := s.fleet.instances["alpha-1"].steps
	if got := steps[len(steps)-1].Prefetches; got != 50 {
		t.Errorf("%v prefetches after a new start, want 50", got)
	}
}

// TestSeenTwice: a packet on both streams, or one that comes late, changes
// nothing.
func TestSeenTwice(t *testing.T) {
	s := newStory("alpha-1")
	s.ticks(3, 100)
	late := s.procs[0].packet(s.now.Add(-5 * time.Second))
	s.procs[0].figures["urza.prefetch.hits"] = 1e9
	for _, packet := range []*pb.TelemetryPacket{s.procs[0].packet(s.now), late} {
		s.fleet.observe(&oona.Message{Arrival: s.now, Body: packet})
	}
	one := s.fleet.instances["alpha-1"]
	if len(one.steps) != 2 || one.latest.figure("urza.prefetch.hits") != 300 {
		t.Errorf("%d steps, %v hits; want 2 and 300", len(one.steps), one.latest.figure("urza.prefetch.hits"))
	}
}

// TestFleetIsBounded: what it remembers does not grow with what it is told.
func TestFleetIsBounded(t *testing.T) {
	s := newStory("alpha-1")
	s.ticks(3*maxSteps, 1)
	if n := len(s.fleet.instances["alpha-1"].steps); n != maxSteps {
		t.Errorf("%d steps, want %d", n, maxSteps)
	}
	var f fleet
	for n := range 2 * maxInstances {
		at := storyStart.Add(time.Duration(n) * time.Second)
		f.add(sample{Instance: fmt.Sprintf("host%d-1", n), Arrived: at, Made: at})
		f.observe(&oona.Message{Arrival: at, Body: &pb.TelemetryPacket{SourceSubsystem: fmt.Sprintf("other%d", n)}})
	}
	if len(f.instances) != maxInstances || len(f.others) != maxSources {
		t.Errorf("%d processes and %d sources, want %d and %d", len(f.instances), len(f.others), maxInstances, maxSources)
	}
	if f.instances["host0-1"] != nil || f.instances[fmt.Sprintf("host%d-1", 2*maxInstances-1)] == nil {
		t.Error("it is not the oldest that was forgotten")
	}
	if f.view(storyStart.Add(time.Hour), time.Second, busView{}, queueReading{}).Forgotten != maxInstances {
		t.Error("the view does not say how many it leaves out")
	}
	s.procs[0].errors = map[string]string{"gone": "x", "urza_prefetch": "y"}
	s.tick(1)
	if got := s.fleet.instances["alpha-1"].failures; len(got) != 1 {
		t.Errorf("errors of %d workers, want those that are there: %v", len(got), got)
	}
}

// TestHostilePacket: nothing that a packet may say breaks the document or steers
// the terminal.
func TestHostilePacket(t *testing.T) {
	var f fleet
	nasty := "\x1b[2J\x1b]0;x\x07evil\u202e\nline"
	packet := &pb.TelemetryPacket{
		SourceSubsystem: subsystem,
		Timestamp:       timestamppb.New(storyStart),
		Metrics: []*pb.MetricPoint{
			nil,
			{Name: "weatherlight.uptime_s", Value: math.NaN()},
			{Name: "urza.prefetch.hits", Value: math.Inf(1)},
			{Name: "urza.prefetch.misses", Value: 3}, {Name: "urza.prefetch.misses", Value: 4},
			{Name: "weatherlight.worker." + nasty + ".running"},
			{Name: "weatherlight.worker." + nasty + ".backoff_seconds", Value: -1e300},
			{Name: "oona.refused." + nasty, Value: math.MaxFloat64, Attributes: map[string]string{"stream": nasty}},
			{Name: "tamiyo.policy.active", Value: 1, Attributes: map[string]string{"tamiyo_policy_version": nasty}},
			{Name: figureDuration + suffixBucket, Value: -1, Attributes: map[string]string{"le": "NaN"}},
		},
		Events:       []*pb.TelemetryEvent{nil, {Description: "worker_error", Attributes: map[string]string{"worker": nasty, "error": nasty, "last_error_ts": "1e400"}}},
		SystemHealth: &pb.SystemHealth{Status: 99, Summary: nasty, Indicators: map[string]string{"instance": nasty}},
	}
	f.observe(&oona.Message{Arrival: storyStart, Body: packet})
	f.observe(&oona.Message{Arrival: storyStart, Body: &pb.TelemetryPacket{SourceSubsystem: nasty}})
	f.observe(&oona.Message{Arrival: storyStart, Body: &pb.EmergencySignal{Level: 77, Reason: nasty, Origin: nasty}})
	f.observe(&oona.Message{Arrival: storyStart, Body: &pb.TelemetryPacket{SourceSubsystem: subsystem}})
	v := f.view(storyStart, time.Second, busView{Reachable: true}, queueReading{})
	if v.Prefetch.Misses != 4 {
		t.Errorf("%v misses; of a repeated name the last one counts", v.Prefetch.Misses)
	}
	var out bytes.Buffer
	if err := writeStatus(&out, new(palette), &v); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(out.String(), "\n", "")
	if text != printable(text) {
		t.Errorf("the text would steer a terminal: %q", out.String())
	}
	if _, err := json.Marshal(v); err != nil {
		t.Error(err)
	}
}

// TestStatusDocument holds the JSON document to the names that scripts know.
func TestStatusDocument(t *testing.T) {
	v := stories["dead letter"]().view()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"at", "health", "problems", "bus", "instances", "workers", "prefetch", "queues", "refusals", "dead_letters", "seeds", "policies", "emergency",
	} {
		if value, ok := doc[name]; !ok || value == nil {
			t.Errorf("%s is %v", name, value)
		}
	}
	want := map[string]any{"severity": "warning", "subject": "dead letters",
		"text":   "1 message given up in the last minute: 1 attempts_exhausted on oona.kernels.requests",
		"remedy": `"deadletter list" shows them; mend the cause, then "deadletter replay".`}
	if diff := cmp.Diff([]any{want}, doc["problems"]); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestStatusText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{shortSeconds(0), "0s"}, {shortSeconds(0.31), "0.3s"}, {shortSeconds(59.6), "1m00s"}, {shortSeconds(3661), "1h01m"},
		{shortSeconds(200000), "2d07h"}, {shortSeconds(-3), "0s"}, {shortSeconds(math.MaxFloat64), "11574d01h"},
		{count(0), "0"}, {count(999), "999"}, {count(1234567), "1,234,567"}, {count(-1234), "-1,234"}, {count(1e300), "1,000,000,000,000,000"},
		{rate(0), "0"}, {rate(0.123), "0.12"}, {rate(12.34), "12.3"}, {rate(12345.6), "12,346"},
		{millis(0.1234), "0.12 ms"}, {millis(45.6), "46 ms"}, {millis(2500), "3s"},
		{messages(1), "1 message"}, {messages(2000), "2,000 messages"}, {times(2), "twice"},
		{clipped("short", 10), "short"}, {clipped("rather long", 7), "rather…"}, {clipped("x", 0), ""},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
