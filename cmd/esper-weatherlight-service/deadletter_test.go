package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestDeadletterCommands: an answer on the request stream is somebody's mistake;
// the service gives it up, and an operator finds it.
func TestDeadletterCommands(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir, env := serviceDir(t), serviceEnv(redis)
	client := busClient(t, redis.URL(), "test")
	entry := redis.Client()
	service := start(t, dir, env)
	if _, err := client.Send(t.Context(), outgoing(&pb.KernelArtifactReady{RequestId: "lost"}, client.Streams().KernelRequests)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return entry.XRange(t.Context(), client.Streams().DeadLetter, "-", "+").Err() })
	var listed []deadLetter
	eventually(t, func() error {
		code, stdout, stderr := runProgram(t, dir, env, "deadletter", "list", "--json")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return errIf(json.Unmarshal([]byte(stdout), &listed) != nil || len(listed) != 1, "listed: "+stdout)
	})
	if listed[0].Reason != "unexpected_type" || listed[0].Stream != client.Streams().KernelRequests {
		t.Errorf("listed: %+v", listed)
	}
	code, stdout, stderr := runProgram(t, dir, env, "deadletter", "show", listed[0].ID)
	if code != 0 || !strings.Contains(stdout, `"request_id": "lost"`) {
		t.Errorf("show: exit code %d: %s%s", code, stdout, stderr)
	}
	for _, test := range []struct {
		code int
		args []string
	}{
		{2, []string{"show", "nothing"}},
		{1, []string{"show", "1-1"}},
		{1, []string{"drop", listed[0].ID}}, // asked, and stdin says nothing
		{2, []string{"replay", listed[0].ID, "--to", "oona.kernel.ready"}},
		{2, []string{"replay", listed[0].ID, "--to", client.Streams().DeadLetter}},
		{0, []string{"replay", listed[0].ID, "--to", client.Streams().KernelRequests}}, // comes back
	} {
		if code, _, stderr := runProgram(t, dir, env, append([]string{"deadletter"}, test.args...)...); code != test.code {
			t.Errorf("%v: exit code %d, want %d: %s", test.args, code, test.code, stderr)
		}
	}
	var again []deadLetter
	eventually(t, func() error {
		_, stdout, stderr := runProgram(t, dir, env, "deadletter", "list", "--json")
		again = nil
		return errIf(json.Unmarshal([]byte(stdout), &again) != nil || len(again) != 1 || again[0].ID == listed[0].ID, "listed: "+stdout+stderr)
	})
	code, stdout, stderr = runProgram(t, dir, env, "deadletter", "replay", again[0].ID)
	if code != 0 || !strings.HasSuffix(stdout, " on "+client.Streams().KernelReady+"\n") {
		t.Errorf("replay: exit code %d: %s%s", code, stdout, stderr)
	}
	if n := entry.XLen(t.Context(), client.Streams().DeadLetter).Val(); n != 0 {
		t.Errorf("%d dead letters after all", n)
	}
	if _, err := client.Send(t.Context(), outgoing(&pb.KernelArtifactReady{RequestId: "lost again"}, client.Streams().KernelRequests)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, stdout, _ := runProgram(t, dir, env, "deadletter", "list", "--json")
		return errIf(json.Unmarshal([]byte(stdout), &again) != nil || len(again) != 1, "listed: "+stdout)
	})
	if code, _, stderr := runProgram(t, dir, env, "deadletter", "drop", again[0].ID, "--yes"); code != 0 {
		t.Errorf("drop: exit code %d: %s", code, stderr)
	}
	// It was given up within this minute, and nothing is left of it.
	if _, stdout, _ := runProgram(t, dir, env, "status"); strings.Contains(stdout, "▲ dead letters") {
		t.Errorf("after the drop:\n%s", stdout)
	}
	service.terminate(10 * time.Second)
}
