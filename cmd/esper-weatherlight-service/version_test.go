package main

import (
	"strings"
	"testing"
)

// TestVersion: as a command and as a flag, the same line.
func TestVersion(t *testing.T) {
	t.Parallel()
	_, command, _ := runProgram(t, t.TempDir(), nil, "version")
	code, flag, stderr := runProgram(t, t.TempDir(), nil, "--version")
	if code != 0 || flag != command || !strings.HasPrefix(flag, "esper-weatherlight-service ") {
		t.Errorf("exit code %d: %q, want %q: %s", code, flag, command, stderr)
	}
}
