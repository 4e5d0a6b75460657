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
		{0, []string{"drop", listed[0].ID, "--yes"}},
	} {
		if code, _, stderr := runProgram(t, dir, env, append([]string{"deadletter"}, test.args...)...); code != test.code {
			t.Errorf("%v: exit code %d, want %d: %s", test.args, code, test.code, stderr)
		}
	}
	service.terminate(10 * time.Second)
}
