package tamiyo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/tamiyo"
)

func TestRefusals(t *testing.T) {
	undated := update(5, "")
	undated.update.IssuedAt = nil
	undated.arrived = epoch.Add(time.Minute)
	late := update(5, "")
	late.arrived = epoch.Add(time.Hour)
	early := update(5, "")
	early.arrived = epoch
	skewed := update(6, "")
	skewed.arrived = epoch.Add(time.Second)
	large := update(5, "")
	large.update.Payload = make([]byte, 101)
	again := update(1, "")
	again.update.IssuedAt = timestamppb.New(epoch.Add(9 * time.Second)) // a rollback
	unwanted := errors.New("a layer is missing")
	for _, test := range []struct {
		name   string
		cfg    tamiyo.Config
		policy model
		second published
		want   []string
		runs   string
	}{
		{name: "newer", second: update(2, ""), want: []string{"policy_applied", "policy_applied"}, runs: "policy-2"},
		{name: "issued at the same time", second: published{update: again.update, arrived: epoch.Add(9 * time.Second)}, want: []string{"policy_applied", "policy_applied"}, runs: "policy-1"},
		{name: "replayed", second: update(1, ""), want: []string{"policy_applied", "policy_refused replayed"}, runs: "policy-1"},
		{name: "older", second: update(0, ""), want: []string{"policy_applied", "policy_refused stale_update"}, runs: "policy-1"},
		{name: "undated", second: undated, want: []string{"policy_applied", "policy_refused stale_update"}, runs: "policy-1"},
		{name: "old, any age allowed", second: late, want: []string{"policy_applied", "policy_applied"}, runs: "policy-5"},
		{name: "old", cfg: tamiyo.Config{MaxAge: time.Minute}, second: late, want: []string{"policy_applied", "policy_refused stale_update"}, runs: "policy-1"},
		{name: "old, unverified", cfg: tamiyo.Config{MaxAge: time.Minute, SkipVerify: true}, second: late, want: []string{"policy_applied", "policy_applied"}, runs: "policy-5"},
		{name: "future within the skew", second: early, want: []string{"policy_applied", "policy_applied"}, runs: "policy-5"},
		{name: "future", cfg: tamiyo.Config{ClockSkew: time.Second}, second: skewed, want: []string{"policy_applied", "policy_refused future_update"}, runs: "policy-1"},
		{name: "other architecture", cfg: tamiyo.Config{ArchitectureVersion: "v1"}, second: update(2, "v2"), want: []string{"policy_applied", "policy_refused version_mismatch"}, runs: "policy-1"},
		{name: "this architecture", cfg: tamiyo.Config{ArchitectureVersion: "v2"}, second: update(2, "v2"), want: []string{"policy_applied", "policy_applied"}, runs: "policy-2"},
		{name: "too large", cfg: tamiyo.Config{MaxBytes: 100}, second: large, want: []string{"policy_applied", "policy_refused too_large"}, runs: "policy-1"},
		{name: "invalid", policy: model{validate: func(u tamiyo.Update) error {
			if u.PolicyID == "policy-2" {
				return unwanted
			}
			return nil
		}}, second: update(2, ""), want: []string{"policy_applied", "policy_refused invalid_payload"}, runs: "policy-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got events
			test.cfg.Bus, test.cfg.Dir = newStream(update(1, ""), test.second), t.TempDir()
			test.cfg.Policy, test.cfg.Forward = &test.policy, got.add
			c := open(t, test.cfg)
			follow(t, c)
			if diff := cmp.Diff(test.want, []string(got)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if got := currentID(c); got != test.runs {
				t.Errorf("%s runs, want %s", got, test.runs)
			}
		})
	}
}

// TestFailedSwapIsTakenBack: the policy from before is applied again, and the
// next update goes through.
func TestFailedSwapIsTakenBack(t *testing.T) {
	policy := &model{apply: func(u tamiyo.Update) error {
		if u.PolicyID == "policy-2" {
			return errors.New("out of memory")
		}
		return nil
	}}
	var got events
	c := open(t, tamiyo.Config{Bus: newStream(update(1, ""), update(2, ""), update(3, "")), Dir: t.TempDir(), Policy: policy, Forward: got.add})
	follow(t, c)
	want := []string{"policy-1", "policy-1", "policy-3"}
	if diff := cmp.Diff(want, policy.applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if previous, _ := c.Previous(); previous.PolicyID != "policy-1" {
		t.Errorf("previous is %s", previous.PolicyID)
	}
}

// TestNoteOfAVersion: an empty payload changes nothing.
func TestNoteOfAVersion(t *testing.T) {
	note := update(2, "v2")
	note.update.Payload = nil
	var got events
	c := open(t, tamiyo.Config{Bus: newStream(update(1, ""), note), Dir: t.TempDir(), Forward: got.add})
	follow(t, c)
	if diff := cmp.Diff([]string{"policy_applied", "policy_version_noted"}, []string(got)); diff != "" || currentID(c) != "policy-1" {
		t.Errorf("%s runs; events (-want +got):\n%s", currentID(c), diff)
	}
}

// TestRestart: a new process restores the policy, and applies what was published
// while it was down, once.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	bus := newStream(update(1, ""), update(2, ""))
	follow(t, open(t, tamiyo.Config{Bus: bus, Dir: dir}))
	bus.updates = append(bus.updates, update(3, ""), update(4, ""))
	policy := new(model)
	c := open(t, tamiyo.Config{Bus: bus, Dir: dir, Policy: policy})
	if u, _ := c.Current(); string(u.Payload) != "weights of 2" {
		t.Errorf("restored %q", u.Payload)
	}
	follow(t, c)
	follow(t, c) // nothing is left
	if diff := cmp.Diff([]string{"policy-2", "policy-3", "policy-4"}, policy.applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "policy-*")); len(files) != 2 {
		t.Errorf("payloads kept: %v", files)
	}
}

func TestBrokenFiles(t *testing.T) {
	payload := func(t *testing.T, dir string, c *tamiyo.Consumer) {
		u, _ := c.Current()
		if err := os.WriteFile(filepath.Join(dir, "policy-"+u.Checksum+".bin"), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state := func(t *testing.T, dir string, _ *tamiyo.Consumer) {
		if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"current":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name     string
		damage   func(*testing.T, string, *tamiyo.Consumer)
		restored string
		followed string
	}{
		// The stream has it still, and it is found there.
		{"payload", payload, "policy-1", "policy-2"},
		// The stream is followed from its start, and has the policy still.
		{"state", state, "", "policy-2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			bus := newStream(update(1, ""), update(2, ""))
			c := open(t, tamiyo.Config{Bus: bus, Dir: dir})
			follow(t, c)
			test.damage(t, dir, c)
			var got events
			c = open(t, tamiyo.Config{Bus: bus, Dir: dir, Forward: got.add})
			if id := currentID(c); id != test.restored || len(got) == 0 || got[0] != "policy_broken" {
				t.Errorf("restored %q, events %v", id, got)
			}
			follow(t, c)
			if id := currentID(c); id != test.followed {
				t.Errorf("%q runs in the end, want %q", id, test.followed)
			}
		})
	}
}

// TestLostPolicy: a policy that is damaged on disk, or cannot be applied at the
// start, is looked for where it was published. Whatever comes of it, nothing else
// is applied twice, and nothing older takes its place.
func TestLostPolicy(t *testing.T) {
	refused := update(4, "v9")
	older := update(3, "")
	older.update.IssuedAt = timestamppb.New(epoch.Add(2500 * time.Millisecond))
	older.update.PolicyId = "older"
	for _, test := range []struct {
		name    string
		damage  bool // the payload; otherwise it cannot be applied at first
		trimmed bool // from the stream
		want    []string
		runs    string
	}{
		{"damaged", true, false, []string{
			"policy_broken", "policy_applied", "policy_refused version_mismatch", "policy_refused stale_update",
		}, "policy-3"},
		{"not applied at the start", false, false, []string{
			"policy_broken", "policy_applied", "policy_refused version_mismatch", "policy_refused stale_update",
		}, "policy-3"},
		{"gone for good", true, true, []string{
			"policy_broken", "policy_refused version_mismatch", "policy_refused stale_update",
		}, "policy-2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			bus := newStream(update(1, ""), update(2, ""), update(3, ""), refused)
			cfg := tamiyo.Config{Bus: bus, Dir: dir, ArchitectureVersion: "v1"}
			c := open(t, cfg)
			follow(t, c)
			var policy model
			if u, _ := c.Current(); test.damage {
				if err := os.Truncate(filepath.Join(dir, "policy-"+u.Checksum+".bin"), 3); err != nil {
					t.Fatal(err)
				}
			} else {
				failed := false
				policy.apply = func(u tamiyo.Update) error {
					if u.PolicyID == "policy-3" && !failed {
						failed = true
						return errors.New("the device is busy")
					}
					return nil
				}
			}
			bus.updates = append(bus.updates, older)
			if test.trimmed {
				bus.trimmed = 3
			}
			var got events
			cfg.Policy, cfg.Forward = &policy, got.add
			c = open(t, cfg)
			if id := currentID(c); id != "policy-2" {
				t.Errorf("%s runs after the start", id)
			}
			follow(t, c)
			if diff := cmp.Diff(test.want, []string(got)); diff != "" || currentID(c) != test.runs {
				t.Errorf("%s runs, want %s; events (-want +got):\n%s", currentID(c), test.runs, diff)
			}
			state, err := tamiyo.ReadState(dir)
			if err != nil || state.Current.PolicyID != test.runs || state.Cursor["oona.policy"].ID.Ms != 5 {
				t.Errorf("state %+v, %v", state, err)
			}
		})
	}
}

// TestFullDisk: an update that cannot be recorded is not applied for good, and
// not skipped.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	bus := newStream(update(1, ""))
	follow(t, open(t, tamiyo.Config{Bus: bus, Dir: dir}))
	bus.updates = append(bus.updates, update(2, ""))
	policy := new(model)
	c := open(t, tamiyo.Config{Bus: bus, Dir: dir, Policy: policy})
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !errors.Is(err, errGivenUp) {
		t.Errorf("follow: %v", err)
	}
	if id := currentID(c); id != "policy-1" {
		t.Errorf("%s runs", id)
	}
	if n := figure(c, "tamiyo.policy.record_failures_total"); n != 1 {
		t.Errorf("%v failures are told, want 1", n)
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	follow(t, c)
	want := []string{"policy-1", "policy-2", "policy-1", "policy-2"} // restored, tried, taken back, done
	if diff := cmp.Diff(want, policy.applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
}

// TestPanicIsARefusal: neither a panic while validating nor one while applying
// stops the stream.
func TestPanicIsARefusal(t *testing.T) {
	policy := &model{
		validate: func(u tamiyo.Update) error {
			if u.PolicyID == "policy-2" {
				panic("no such layer")
			}
			return nil
		},
		apply: func(u tamiyo.Update) error {
			if u.PolicyID == "policy-3" {
				panic("out of range")
			}
			return nil
		},
	}
	var got events
	c := open(t, tamiyo.Config{Bus: newStream(update(1, ""), update(2, ""), update(3, ""), update(4, "")), Dir: t.TempDir(), Policy: policy, Forward: got.add})
	follow(t, c)
	want := []string{"policy_applied", "policy_refused invalid_payload", "policy_refused apply_failed", "policy_applied"}
	if diff := cmp.Diff(want, []string(got)); diff != "" || currentID(c) != "policy-4" {
		t.Errorf("%s runs; events (-want +got):\n%s", currentID(c), diff)
	}
}

// TestStopDuringASwap: an update that was interrupted is neither applied nor
// refused; the next process applies it.
func TestStopDuringASwap(t *testing.T) {
	dir := t.TempDir()
	bus := newStream(update(1, ""))
	ctx, cancel := context.WithCancel(t.Context())
	policy := &model{apply: func(tamiyo.Update) error {
		cancel()
		return ctx.Err()
	}}
	var got events
	c := open(t, tamiyo.Config{Bus: bus, Dir: dir, Policy: policy, Forward: got.add})
	if err := c.Run(ctx); err == nil || len(got) > 0 {
		t.Errorf("run: %v, events %v", err, got)
	}
	c = open(t, tamiyo.Config{Bus: bus, Dir: dir})
	follow(t, c)
	if id := currentID(c); id != "policy-1" {
		t.Errorf("%q runs", id)
	}
}

// figure returns the value of a figure of the consumer; -1 where it has none.
func figure(c *tamiyo.Consumer, name string) float64 {
	for _, m := range c.AppendMetrics(nil) {
		if m.Name == name {
			return m.Value
		}
	}
	return -1
}

// TestDigestsAreBounded: as many are kept as the stream keeps updates.
func TestDigestsAreBounded(t *testing.T) {
	bus := newStream()
	for n := range 70 {
		bus.updates = append(bus.updates, update(n, ""))
	}
	dir := t.TempDir()
	follow(t, open(t, tamiyo.Config{Bus: bus, Dir: dir}))
	state, err := tamiyo.ReadState(dir)
	if err != nil || len(state.Applied) != 64 || state.Applied[63] != state.Current.Digest {
		t.Errorf("%d digests are kept, %v", len(state.Applied), err)
	}
}
