package main

import (
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runProgram(t, t.TempDir(), nil, "demo")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, shown := range []string{
		"ready after", "missing_artifact", `"replayed"`, `"bad_signature"`, "seed-1 is in TRAINING", "swapped  to policy-7", "it runs again", "with 0 restarts",
	} {
		if !strings.Contains(stdout, shown) {
			t.Errorf("the demo does not show %q:\n%s", shown, stdout)
		}
	}
}
