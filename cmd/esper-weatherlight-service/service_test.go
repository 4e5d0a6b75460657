package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// serviceDir returns a working directory with the catalogue of the Python side.
func serviceDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/catalog")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func serviceEnv(redis *redistest.Server) map[string]string {
	return map[string]string{
		"ESPER_LEYLINE_SECRET": testSecret,
		"REDIS_URL":            redis.URL(),
		// The Python side's catalogue has its artifacts beside it.
		"URZA_ARTIFACT_DIR": "./var/urza/artifacts",
	}
}

// answerLog collects every answer on the bus by request id.
type answerLog struct {
	mu      sync.Mutex
	answers map[string][]proto.Message
}

// watchAnswers follows all answers from the start of the streams.
func watchAnswers(t *testing.T, client *oona.Client) *answerLog {
	t.Helper()
	l := &answerLog{answers: make(map[string][]proto.Message)}
	followAnswers(t, client, l)
	return l
}

// followAnswers shows h all answers from the start of the streams.
func followAnswers(t *testing.T, client *oona.Client, h oona.Handler) {
	t.Helper()
	streams := client.Streams()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := client.Follow(ctx, oona.Following{From: oona.Cursor{streams.KernelReady: {}, streams.KernelErrors: {}}}, h)
		if err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func (l *answerLog) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range batch {
		if answer, ok := m.Body.(interface{ GetRequestId() string }); ok {
			id := answer.GetRequestId()
			l.answers[id] = append(l.answers[id], m.Body)
		}
	}
	return make([]oona.Result, len(batch))
}

// total returns how many requests have an answer.
func (l *answerLog) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.answers)
}

// oneEach waits until the n requests have an answer, and fails the test unless
// each has exactly one.
func (l *answerLog) oneEach(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() error {
		if got := l.total(); got < n {
			return fmt.Errorf("%d of %d requests are answered", got, n)
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		if got := len(l.answers[requestID(i)]); got != 1 {
			t.Errorf("%s has %d answers, want 1", requestID(i), got)
		}
	}
	if len(l.answers) != n {
		t.Errorf("%d requests are answered, want %d", len(l.answers), n)
	}
}

func requestID(i int) string { return "req-" + strconv.Itoa(i) }

func publishRequests(t testing.TB, client *oona.Client, from, to int) {
	t.Helper()
	msgs := make([]proto.Message, 0, to-from)
	for i := from; i < to; i++ {
		msgs = append(msgs, &pb.KernelPrefetchRequest{RequestId: requestID(i), BlueprintId: "BP001", IssuedAt: timestamppb.Now()})
	}
	if _, err := client.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}

// expectedReply is one answer of the Python side.
type expectedReply struct {
	BlueprintID string         `json:"blueprint_id"`
	Kind        string         `json:"kind"`
	Fields      map[string]any `json:"fields"`
}

// TestServesThePythonCatalogue: every answer is the one that the Python side
// gives.
func TestServesThePythonCatalogue(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir := serviceDir(t)
	text, err := os.ReadFile("testdata/catalog/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Replies []expectedReply `json:"replies"`
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	service := start(t, dir, serviceEnv(redis))
	for i, reply := range expected.Replies {
		_, err := client.Publish(t.Context(), &pb.KernelPrefetchRequest{RequestId: requestID(i), BlueprintId: reply.BlueprintID, IssuedAt: timestamppb.Now()})
		if err != nil {
			t.Fatal(err)
		}
	}
	answers.oneEach(t, len(expected.Replies))
	service.terminate(10 * time.Second)
	for i, want := range expected.Replies {
		got := replyOf(answers.answers[requestID(i)][0])
		if diff := cmp.Diff(want, got, cmp.Comparer(sameFloat32)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.BlueprintID, diff)
		}
	}
}

// sameFloat32 compares numbers as the wire carries them.
func sameFloat32(a, b float64) bool {
	return math.Float32bits(float32(a)) == math.Float32bits(float32(b))
}

// replyOf puts an answer into the form of the vectors, default values left out.
func replyOf(msg proto.Message) expectedReply {
	fields := make(map[string]any)
	put := func(name string, value any) {
		if value != "" && value != float64(0) {
			fields[name] = value
		}
	}
	switch m := msg.(type) {
	case *pb.KernelArtifactReady:
		put("blueprint_id", m.GetBlueprintId())
		put("artifact_ref", m.GetArtifactRef())
		put("checksum", m.GetChecksum())
		put("guard_digest", m.GetGuardDigest())
		put("prewarm_p50_ms", float64(m.GetPrewarmP50Ms()))
		put("prewarm_p95_ms", float64(m.GetPrewarmP95Ms()))
		return expectedReply{m.GetBlueprintId(), "ready", fields}
	case *pb.KernelArtifactError:
		put("blueprint_id", m.GetBlueprintId())
		put("reason", m.GetReason())
		return expectedReply{m.GetBlueprintId(), "error", fields}
	}
	return expectedReply{}
}

// TestTerminatedUnderLoad: SIGTERM in the middle of a flood ends the process in
// order; the next start answers the rest, and nothing twice. The first requests
// are published before the group exists.
func TestTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	const total = 20000
	redis := redistest.Start(t)
	dir := serviceDir(t)
	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	publishRequests(t, client, 0, 500)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for from := 500; from < total; from += 500 {
			publishRequests(t, client, from, from+500)
		}
	})
	first := start(t, dir, serviceEnv(redis))
	eventually(t, func() error {
		if answers.total() < 1000 {
			return fmt.Errorf("only %d answers", answers.total())
		}
		return nil
	})
	first.terminate(10 * time.Second)
	publishing.Wait()
	second := start(t, dir, serviceEnv(redis))
	answers.oneEach(t, total)
	second.terminate(10 * time.Second)
}

// TestKilledUnderLoad: kill -9 loses nothing. What the dead process held is
// reclaimed by the next one.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const total = 20000
	redis := redistest.Start(t)
	dir := serviceDir(t)
	env := with(serviceEnv(redis), "OONA_RECLAIM_IDLE", "1s")
	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for from := 0; from < total; from += 500 {
			publishRequests(t, client, from, from+500)
		}
	})
	for _, enough := range []int{500, 3000, 8000} {
		p := start(t, dir, env)
		eventually(t, func() error {
			if answers.total() < enough {
				return fmt.Errorf("only %d answers", answers.total())
			}
			return nil
		})
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	publishing.Wait()
	last := start(t, dir, env)
	answers.oneEach(t, total)
	last.terminate(10 * time.Second)
}

// TestPrefetchCommand asks the running service as an operator does.
func TestPrefetchCommand(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir := serviceDir(t)
	env := serviceEnv(redis)
	service := start(t, dir, env)
	code, stdout, stderr := runProgram(t, dir, env, "prefetch", "BP001", "BP010", "--json")
	var got []prefetched
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if len(got) != 2 || got[0].BlueprintID != "BP001" || got[0].Status != "ready" || got[1].ArtifactRef != "var/urza/BP010.pt" {
		t.Errorf("answers: %+v", got)
	}
	code, stdout, stderr = runProgram(t, dir, env, "prefetch", "BP001", "BP404")
	if code != 3 || !strings.Contains(stdout, "missing_artifact") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	service.terminate(10 * time.Second)
	code, _, stderr = runProgram(t, dir, env, "prefetch", "--timeout", "3s", "BP001")
	if code != 1 || !strings.Contains(stderr, "no answer") {
		t.Errorf("without a service: exit code %d: %s", code, stderr)
	}
}
