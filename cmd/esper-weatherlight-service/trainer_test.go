package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
	"github.com/esper-lite/esper/urza"
)

// TestTrainer: a trainer process, of the example's program, asks two replicas for
// the kernels of 1,000 seeds of 50 blueprints; one replica is killed half-way. Every
// seed trains, or is culled with a reason.
func TestTrainer(t *testing.T) {
	t.Parallel()
	const blueprints, generations = 50, 20
	redis := redistest.Start(t)
	dir := t.TempDir()
	env := with(serviceEnv(redis),
		"URZA_DATABASE_URL", "sqlite:///"+filepath.Join(dir, "catalog.db"),
		"URZA_ARTIFACT_DIR", filepath.Join(dir, "artifacts"),
		"OONA_RECLAIM_IDLE", "1s")
	names := fillLibrary(t, env, blueprints)

	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	first := start(t, dir, with(env, "TAMIYO_POLICY_DIR", "./policies-1"))
	second := start(t, dir, with(env, "TAMIYO_POLICY_DIR", "./policies-2"))
	for _, p := range []*process{first, second} {
		eventually(t, func() error { return errIf(!strings.Contains(p.stderr.String(), "supervisor booted"), "not booted") })
	}

	program := filepath.Join(t.TempDir(), "trainer")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/trainer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trainer := startProgram(t, program, dir, env, append([]string{"-seeds", fmt.Sprint(generations)}, names...)...)
	eventually(t, func() error {
		n := answers.total()
		return errIf(n < blueprints*generations/4, fmt.Sprintf("%d answers", n)) // most are still to come
	})
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.exited
	answered := answers.total()
	if code := trainer.wait(2 * time.Minute); code != 0 {
		t.Fatalf("the trainer ended with %d: %s", code, trainer.stderr.String())
	}
	second.terminate(10 * time.Second)

	fates := make(map[string]string)
	for line := range strings.Lines(trainer.stdout.String()) {
		seed, fate, _ := strings.Cut(strings.TrimSpace(line), " is ")
		fates[seed] = fate
	}
	for i, name := range names {
		want := "in TRAINING, with a kernel of 8 bytes"
		switch i {
		case missing:
			want = fmt.Sprintf("culled: kasmina: no kernel for blueprint %q: missing_artifact", name)
		case damaged:
			want = fmt.Sprintf("culled: kasmina: no kernel for blueprint %q: checksum_mismatch", name)
		}
		for n := range generations {
			if seed := fmt.Sprintf("%s/%d", name, n+1); fates[seed] != want {
				t.Errorf("%s: %q, want %q", seed, fates[seed], want)
			}
		}
	}
	t.Logf("killed after %d answers; %d seeds have a fate, %d requests were answered", answered, len(fates), answers.total())
	if len(fates) != blueprints*generations || answered >= blueprints*generations {
		t.Errorf("%d seeds have a fate, %d answers before the kill", len(fates), answered)
	}
}

// Of the blueprints that fillLibrary names, these two have no kernel.
const missing, damaged = 7, 23

// fillLibrary puts artifacts of 8 bytes into the library, and returns the names of
// their blueprints.
func fillLibrary(t *testing.T, env map[string]string, n int) []string {
	t.Helper()
	library, err := urza.Open(t.Context(), urza.Config{DatabaseURL: env["URZA_DATABASE_URL"], ArtifactDir: env["URZA_ARTIFACT_DIR"]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = library.Close() }()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("BP%03d", i)
		if i == missing {
			continue
		}
		record, err := library.Add(t.Context(), urza.Addition{BlueprintID: names[i], File: "kernel.pt", Reader: strings.NewReader(fmt.Sprintf("%8d", i))})
		if err != nil {
			t.Fatal(err)
		}
		if i != damaged {
			continue
		}
		if err := os.WriteFile(record.ArtifactPath, []byte("damaged!"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
