package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// policyFleet is two replicas of the service, and an operator at the shell.
type policyFleet struct {
	t       *testing.T
	dir     string
	env     []map[string]string // of each replica
	packets *packetLog
}

func newPolicyFleet(t *testing.T, redis *redistest.Server) *policyFleet {
	t.Helper()
	f := &policyFleet{t: t, dir: serviceDir(t), packets: watchPackets(t, busClient(t, redis.URL(), "test"), "")}
	for i := range 2 {
		f.env = append(f.env, with(serviceEnv(redis), "TAMIYO_ARCHITECTURE_VERSION", "v1", "TAMIYO_POLICY_DIR", fmt.Sprint("./policies-", i)))
	}
	return f
}

// start starts a replica, and returns it with its name.
func (f *policyFleet) start(replica int) (p *process, instance string) {
	f.t.Helper()
	p = start(f.t, f.dir, f.env[replica])
	eventually(f.t, func() error {
		for line := range strings.Lines(p.stderr.String()) {
			var entry struct{ Msg, Instance string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "connected" {
				instance = entry.Instance
			}
		}
		return errIf(instance == "" || !strings.Contains(p.stderr.String(), "supervisor booted"), "not booted")
	})
	return p, instance
}

// shell runs a command that must succeed and prints JSON into result.
func (f *policyFleet) shell(replica int, result any, args ...string) {
	f.t.Helper()
	code, stdout, stderr := runProgram(f.t, f.dir, f.env[replica], append(args, "--json")...)
	if code != 0 {
		f.t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), result); err != nil {
		f.t.Fatalf("%v: %v: %s", args, err, stdout)
	}
}

// publish publishes a policy as an operator does.
func (f *policyFleet) publish(id, version string) {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), id)
	if err := os.WriteFile(file, []byte("weights of "+id), 0o600); err != nil {
		f.t.Fatal(err)
	}
	var published publishedPolicy
	f.shell(0, &published, "policy", "publish", file, "--version", version, "--id", id)
	if published.PolicyID != id || published.EntryID == "" {
		f.t.Fatalf("published %+v", published)
	}
}

// runs waits until a replica shows these policies, and no other reason than time
// stands against it.
func (f *policyFleet) runs(replica int, current, previous string) {
	f.t.Helper()
	eventually(f.t, func() error {
		var kept keptPolicies
		f.shell(replica, &kept, "policy", "show")
		if kept.Current == nil || kept.Previous == nil {
			return errIf(current != "", "nothing runs yet")
		}
		got := kept.Current.PolicyID + " before " + kept.Previous.PolicyID
		return errIf(got != current+" before "+previous, fmt.Sprintf("replica %d runs %s", replica, got))
	})
}

// told waits until an instance has told exactly these events of policies, in this
// order.
func (f *policyFleet) told(instance string, want ...string) {
	f.t.Helper()
	eventually(f.t, func() error {
		var got []string
		for _, e := range f.packets.events("tamiyo", "policy_applied", "policy_refused", "policy_gap", "policy_broken") {
			a := e.GetAttributes()
			if a["instance"] == instance {
				got = append(got, strings.Join(strings.Fields(e.GetDescription()+" "+a["policy_id"]+" "+a["reason"]), " "))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("events of %s (-want +got):\n%s", instance, diff)
		}
		return nil
	})
}

// TestPolicies: the whole life of policies, from the shell, on a real Redis.
func TestPolicies(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t)
	rdb := redisServer.Client()
	f := newPolicyFleet(t, redisServer)
	client := busClient(t, redisServer.URL(), "operator")
	stream := client.Streams().Policy

	if code, _, stderr := runProgram(t, f.dir, f.env[0], "policy", "rollback"); code != 1 || !strings.Contains(stderr, "no policy from before") {
		t.Errorf("rollback before there was anything: %d: %s", code, stderr)
	}
	f.publish("early", "v1") // before anybody was there
	first, a := f.start(0)
	second, b := f.start(1)
	f.publish("next", "v1")
	f.runs(0, "next", "early")
	f.runs(1, "next", "early")

	// What must not come in, does not, and each replica says why.
	f.publish("other", "v2")
	recorded, err := rdb.XRangeN(t.Context(), stream, "-", "+", 1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: recorded[0].Values}).Err(); err != nil {
		t.Fatal(err)
	}
	old := &pb.PolicyUpdate{Version: 1, PolicyId: "old", TamiyoPolicyVersion: "v1", Payload: []byte("x"), IssuedAt: timestamppb.New(time.Now().Add(-time.Hour))}
	if _, err := client.Publish(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	before := []string{
		"policy_applied early", "policy_applied next", "policy_refused other version_mismatch", "policy_refused early replayed", "policy_refused old stale_update",
	}
	f.told(a, before...)
	f.told(b, before...)

	// One is down while two are published, the other one is killed.
	second.terminate(10 * time.Second)
	f.publish("third", "v1")
	f.publish("fourth", "v1")
	f.runs(0, "fourth", "third")
	_ = first.cmd.Process.Kill()
	<-first.exited
	second, b = f.start(1)
	f.told(b, "policy_applied third", "policy_applied fourth")
	first, a = f.start(0)

	// Back, all of them.
	var back publishedPolicy
	f.shell(0, &back, "policy", "rollback")
	f.runs(0, "third", "fourth")
	f.runs(1, "third", "fourth")
	f.told(a, "policy_applied third")
	f.told(b, "policy_applied third", "policy_applied fourth", "policy_applied third")

	// What was deleted while nobody looked is told.
	second.terminate(10 * time.Second)
	f.publish("unseen", "v1")
	f.runs(0, "unseen", "third")
	if err := rdb.XTrimMaxLen(t.Context(), stream, 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.publish("last", "v1")
	second, b = f.start(1)
	f.told(b, "policy_gap", "policy_applied last")
	f.runs(1, "last", "third")

	// A policy that is damaged on disk is found on the stream.
	second.terminate(10 * time.Second)
	var kept keptPolicies
	f.shell(1, &kept, "policy", "show")
	if err := os.WriteFile(filepath.Join(f.dir, "policies-1", "policy-"+kept.Current.Checksum+".bin"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, b = f.start(1)
	f.told(b, "policy_broken", "policy_applied last")
	f.runs(1, "last", "third")
	first.terminate(10 * time.Second)
	second.terminate(10 * time.Second)
}

// TestNoPolicy: show says that there is none, and how to publish one.
func TestNoPolicy(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := runCommand(t, nil, false, (*app).policyCommand, "show")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "no policy runs on this host") || !strings.Contains(stdout, "policy publish FILE --version V") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, stdout, _ = runCommand(t, nil, true, (*app).policyCommand, "show")
	var kept keptPolicies
	if err := json.Unmarshal([]byte(stdout), &kept); err != nil || code != 0 || kept.Current != nil {
		t.Errorf("as JSON: exit code %d, %v: %s", code, err, stdout)
	}
}

// TestPolicyIsDiverted: a producer in its conservative mode puts updates on the
// emergency stream.
func TestPolicyIsDiverted(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t)
	f := newPolicyFleet(t, redisServer)
	client := busClient(t, redisServer.URL(), "operator")
	p, a := f.start(0)
	update := &pb.PolicyUpdate{Version: 1, PolicyId: "diverted", TamiyoPolicyVersion: "v1", Payload: []byte("x"), IssuedAt: timestamppb.Now()}
	if _, err := client.Send(t.Context(), outgoing(update, client.Streams().Emergency)); err != nil {
		t.Fatal(err)
	}
	f.told(a, "policy_applied diverted")
	p.terminate(10 * time.Second)
	if files, err := filepath.Glob(filepath.Join(f.dir, "policies-0", "policy-*")); err != nil || len(files) != 1 {
		t.Errorf("kept: %v, %v", files, err)
	}
}
