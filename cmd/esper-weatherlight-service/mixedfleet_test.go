package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// longSecret is one that mode strict accepts.
const longSecret = "golden-secret-of-a-fleet"

// pythonSide does on the bus what the Python implementation does, without our
// packages: its messages are the bytes of the vectors, signed by hand.
type pythonSide struct {
	t       *testing.T
	rdb     *redis.Client
	secret  string
	entries map[string]pythonEntry
}

type pythonEntry struct {
	Name      string `json:"name"`
	Stream    string `json:"stream"`
	Payload   string `json:"payload_hex"`
	Envelope  string `json:"envelope_hex"`
	Signature string `json:"signature_b64"`
}

func newPythonSide(t *testing.T, url, secret string) *pythonSide {
	t.Helper()
	text, err := os.ReadFile("../../leyline/testdata/vectors/messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct{ Messages []pythonEntry }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	p := &pythonSide{t: t, rdb: redisClient(t, url), secret: secret, entries: make(map[string]pythonEntry)}
	for _, entry := range vectors.Messages {
		p.entries[entry.Name] = entry
	}
	return p
}

func (p *pythonSide) sign(envelope []byte) string {
	mac := hmac.New(sha256.New, []byte(p.secret))
	mac.Write(envelope)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (p *pythonSide) add(stream string, envelope []byte, signature string) {
	p.t.Helper()
	values := []any{"payload", envelope, "signature", signature}
	if err := p.rdb.XAdd(p.t.Context(), &redis.XAddArgs{Stream: stream, Values: values}).Err(); err != nil {
		p.t.Fatal(err)
	}
}

// sends adds an entry of the vectors as it stands.
func (p *pythonSide) sends(name string) {
	p.t.Helper()
	entry := p.entries[name]
	envelope, err := hex.DecodeString(entry.Envelope)
	if err != nil {
		p.t.Fatal(err)
	}
	p.add(entry.Stream, envelope, entry.Signature)
}

// requests adds the request of the vectors with a present time, an id and a
// blueprint of its own, to a stream.
func (p *pythonSide) requests(stream string, i int, blueprint string) {
	p.t.Helper()
	payload, err := hex.DecodeString(p.entries["KernelPrefetchRequest"].Payload)
	if err != nil {
		p.t.Fatal(err)
	}
	var request pb.KernelPrefetchRequest
	if err := proto.Unmarshal(payload, &request); err != nil {
		p.t.Fatal(err)
	}
	request.RequestId, request.BlueprintId, request.IssuedAt = requestID(i), blueprint, timestamppb.Now()
	if payload, err = proto.Marshal(&request); err != nil {
		p.t.Fatal(err)
	}
	envelope := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST))
	envelope = protowire.AppendBytes(protowire.AppendTag(envelope, 2, protowire.BytesType), payload)
	p.add(stream, envelope, p.sign(envelope))
}

// joins makes the group as the Python service does, at the end of the stream.
func (p *pythonSide) joins() {
	p.t.Helper()
	err := p.rdb.XGroupCreateMkStream(p.t.Context(), "oona.kernels.requests", "weatherlight", "$").Err()
	if err != nil {
		p.t.Fatal(err)
	}
}

// takesOne takes an entry that will never be answered.
func (p *pythonSide) takesOne() {
	p.t.Helper()
	err := p.rdb.XReadGroup(p.t.Context(), &redis.XReadGroupArgs{
		Group: "weatherlight", Consumer: "weatherlight-somehost", Streams: []string{"oona.kernels.requests", ">"}, Count: 1, Block: -1,
	}).Err()
	if err != nil {
		p.t.Fatal(err)
	}
}

// pending returns the consumers that hold requests.
func (p *pythonSide) pending() map[string]int64 {
	p.t.Helper()
	held, err := p.rdb.XPending(p.t.Context(), "oona.kernels.requests", "weatherlight").Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return held.Consumers
}

// answers reads what ours published, as the Python side does: signature over the
// bytes, envelope, message. An id with two answers fails the test.
func (p *pythonSide) answers() map[string]expectedReply {
	p.t.Helper()
	got := make(map[string]expectedReply)
	for stream, message := range map[string]func() proto.Message{
		"oona.kernels.ready":  func() proto.Message { return new(pb.KernelArtifactReady) },
		"oona.kernels.errors": func() proto.Message { return new(pb.KernelArtifactError) },
	} {
		entries, err := p.rdb.XRange(p.t.Context(), stream, "-", "+").Result()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, entry := range entries {
			payload, signature := entry.Values["payload"].(string), entry.Values["signature"].(string)
			if signature != p.sign([]byte(payload)) {
				p.t.Fatalf("the Python side refuses %s of %s", entry.ID, stream)
			}
			var envelope pb.BusEnvelope
			answer := message()
			if err := errors.Join(proto.Unmarshal([]byte(payload), &envelope), proto.Unmarshal(envelope.GetPayload(), answer)); err != nil {
				p.t.Fatal(err)
			}
			id := answer.(interface{ GetRequestId() string }).GetRequestId()
			if _, twice := got[id]; twice {
				p.t.Errorf("%s is answered twice", id)
			}
			got[id] = replyOf(answer)
		}
	}
	return got
}

// awaits waits until the request is answered as the Python side would.
func (p *pythonSide) awaits(i int, want expectedReply) {
	p.t.Helper()
	eventually(p.t, func() error { return errIf(p.answers()[requestID(i)].Kind == "", requestID(i)+" is not answered") })
	if diff := cmp.Diff(want, p.answers()[requestID(i)], cmp.Comparer(sameFloat32)); diff != "" {
		p.t.Errorf("%s (-want +got):\n%s", want.BlueprintID, diff)
	}
}

// TestMovingFromPython walks "Next to a Python fleet" of the manual, step by step
// and back again.
func TestMovingFromPython(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	dir := serviceDir(t)
	replies := expectedReplies(t)
	env := with(serviceEnv(server), "LEYLINE_MODE", "compat", "OONA_RECLAIM_IDLE", "1s", "WEATHERLIGHT_TELEMETRY_INTERVAL", "200ms")
	python := newPythonSide(t, server.URL(), testSecret)
	python.joins()

	// 1. Catalogue: all of it is seen, and what is wrong with it has its name.
	_, listed, _ := runProgram(t, dir, env, "urza", "list", "--json")
	if !strings.Contains(listed, `"BP020"`) || !strings.Contains(listed, `"BAD_MISSING"`) {
		t.Errorf("the catalogue of the Python side: %s", listed)
	}
	code, verified, _ := runProgram(t, dir, env, "urza", "verify", "--json")
	if code != 3 || !strings.Contains(verified, "BAD_CHECKSUM") {
		t.Errorf("verify: exit code %d: %s", code, verified)
	}

	// 2. Ours beside the Python service, which has taken one request.
	python.requests("oona.kernels.requests", 0, "BP001")
	python.takesOne()
	ours := start(t, dir, env)
	for i, reply := range replies {
		python.requests("oona.kernels.requests", 100+i, reply.BlueprintID)
	}
	python.requests("oona.emergency", 1, "BP001") // as in its conservative mode
	python.sends("PolicyUpdate")
	python.sends("EmergencySignal")
	python.sends("TelemetryPacket")
	for i, reply := range replies {
		python.awaits(100+i, reply)
	}
	python.awaits(1, replies[0])
	if code, out, stderr := runProgram(t, dir, env, "prefetch", "BP001"); code != 0 {
		t.Errorf("prefetch: exit code %d: %s%s", code, out, stderr)
	}
	eventually(t, func() error {
		_, shown, _ := runProgram(t, dir, env, "policy", "show", "--json")
		return errIf(!strings.Contains(shown, "policy-v2"), "the policy of the Python side is not taken: "+shown)
	})

	// 3. The Python service is gone: what it had taken is served, and nobody but
	// ours holds anything.
	python.awaits(0, replies[0])
	eventually(t, func() error {
		held := python.pending()
		return errIf(len(held) != 0, fmt.Sprintf("still held: %v", held))
	})
	if refusals := refusalsShown(t, dir, env); len(refusals) != 0 {
		t.Errorf("refused: %v", refusals)
	}

	// 4. A producer of ours beside the Python ones.
	client := busClient(t, server.URL(), "trainer")
	request := &pb.KernelPrefetchRequest{RequestId: requestID(2), BlueprintId: "BP010", IssuedAt: timestamppb.Now()}
	if _, err := client.Publish(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	python.awaits(2, replies[1])
	ours.terminate(10 * time.Second)

	// 5. Strict, with a secret that deserves it; a Python producer was forgotten.
	strict := with(env, "LEYLINE_MODE", "strict")
	if code, _, stderr := runProgram(t, dir, strict); code != 2 || !strings.Contains(stderr, "ESPER_LEYLINE_SECRET") {
		t.Errorf("strict with a short secret: exit code %d: %s", code, stderr)
	}
	strict, env = with(strict, "ESPER_LEYLINE_SECRET", longSecret), with(env, "ESPER_LEYLINE_SECRET", longSecret)
	forgotten := newPythonSide(t, server.URL(), longSecret)
	ours = start(t, dir, strict)
	if code, out, stderr := runProgram(t, dir, strict, "prefetch", "BP001"); code != 0 {
		t.Errorf("strict: exit code %d: %s%s", code, out, stderr)
	}
	forgotten.requests("oona.kernels.requests", 3, "BP001")
	eventually(t, func() error {
		refusals := refusalsShown(t, dir, strict)
		named := slices.ContainsFunc(refusals, func(r refusalView) bool {
			return r.Reason == string(leyline.WrongAudience) && r.Stream == "oona.kernels.requests" && r.Total == 1
		})
		return errIf(!named, fmt.Sprintf("refused: %v", refusals))
	})
	ours.terminate(10 * time.Second)

	// And back: compat, then ours ends with nothing pending.
	ours = start(t, dir, env)
	forgotten.requests("oona.kernels.requests", 4, "BP001")
	eventually(t, func() error {
		// Both in one reply: what is read between two would be in neither.
		groups, err := forgotten.rdb.XInfoGroups(t.Context(), "oona.kernels.requests").Result()
		return errors.Join(err, errIf(len(groups) != 1 || groups[0].Pending != 0 || groups[0].Lag != 0, fmt.Sprintf("groups: %v", groups)))
	})
	ours.terminate(10 * time.Second)
	if held := forgotten.pending(); len(held) != 0 {
		t.Errorf("held after the last of ours: %v", held)
	}
}

func expectedReplies(t *testing.T) []expectedReply {
	t.Helper()
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
	return expected.Replies
}

// refusalsShown returns what status says was refused.
func refusalsShown(t *testing.T, dir string, env map[string]string) []refusalView {
	t.Helper()
	code, stdout, stderr := runProgram(t, dir, env, "status", "--json")
	var status struct{ Refusals []refusalView }
	if err := json.Unmarshal([]byte(stdout), &status); err != nil {
		t.Fatalf("status: exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	return status.Refusals
}
