package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // with settings of a real service, which are not the demo's
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("ESPER_LEYLINE_SECRET_FILE=/nowhere\nOONA_MAX_ATTEMPTS=none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runProgram(t, dir, nil, "demo")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, shown := range []string{
		"ready after", "missing_artifact", `"replayed"`, `"bad_signature"`, "seed-1 is in TRAINING", "swapped  to policy-7", "it runs again", "with 0 restarts", "go install",
		"3 requests, 3 answers; 1 replay and 1 forgery refused",
	} {
		if !strings.Contains(stdout, shown) {
			t.Errorf("the demo does not show %q:\n%s", shown, stdout)
		}
	}
	for line := range strings.Lines(stdout) {
		if text := strings.TrimSuffix(line, "\n"); text != strings.TrimRight(text, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
	if code, _, stderr := runProgram(t, dir, nil, "demo", "--json"); code != 2 || !strings.Contains(stderr, "no --json") {
		t.Errorf("with --json: exit code %d: %s", code, stderr)
	}
}
