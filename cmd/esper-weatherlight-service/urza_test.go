package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUrzaCommands adds an artifact and takes it through every command. None
// needs the bus or the secret.
func TestUrzaCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kernel := filepath.Join(dir, "kernel.pt")
	if err := os.WriteFile(kernel, []byte("compiled"), 0o600); err != nil {
		t.Fatal(err)
	}
	urza := func(wantCode int, args ...string) string {
		t.Helper()
		code, stdout, stderr := runProgram(t, dir, nil, append([]string{"urza"}, args...)...)
		if code != wantCode {
			t.Errorf("urza %v: exit code %d, want %d: %s%s", args, code, wantCode, stdout, stderr)
		}
		return stdout
	}
	if out := urza(0, "list"); out != "no records\n" {
		t.Errorf("an empty list is %s", out)
	}
	urza(2, "add", kernel)
	urza(2, "add", kernel, "--blueprint", "BP1", "--tier", "royal")
	urza(1, "add", filepath.Join(dir, "nowhere"), "--blueprint", "BP1")
	urza(0, "add", kernel, "--blueprint", "BP1", "--tier", "high-risk", "--tag", "Vision", "--tag", "new", "--stage", "2", "--name", "first")
	urza(0, "add", kernel, "--blueprint", "BP2")

	var listed []struct {
		BlueprintID  string   `json:"blueprint_id"`
		Tier         string   `json:"tier"`
		Tags         []string `json:"tags"`
		ArtifactPath string   `json:"artifact_path"`
	}
	if err := json.Unmarshal([]byte(urza(0, "list", "--json", "--tag", "VISION", "--stage", "2", "--tier", "high_risk", "--name", "fir")), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 1 || listed[0].BlueprintID != "BP1" || listed[0].Tier != "BLUEPRINT_TIER_HIGH_RISK" {
		t.Errorf("listed: %+v", listed)
	}
	if out := urza(0, "list", "--tag", "nobody", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("an empty list is %s", out)
	}
	var shown map[string]any
	if err := json.Unmarshal([]byte(urza(0, "show", "BP1", "--json")), &shown); err != nil || shown["name"] != "first" {
		t.Errorf("shown: %v, %v", shown, err)
	}
	urza(1, "show", "BP3")
	urza(0, "verify")
	if err := os.WriteFile(filepath.Join(dir, listed[0].ArtifactPath), []byte("tampered"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := urza(3, "verify", "--json"); !strings.Contains(out, "checksum_mismatch") {
		t.Errorf("verify: %s", out)
	}
	urza(0, "verify", "BP2")
	for _, args := range [][]string{{"remove", "BP3"}, {"remove", "BP1", "BP3", "--yes"}} {
		code, stdout, stderr := runProgram(t, dir, nil, append([]string{"urza"}, args...)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, `no such blueprint: "BP3"`) || strings.Contains(stderr, "[y/N]") {
			t.Errorf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	urza(0, "show", "BP1")
	urza(1, "remove", "BP1") // asked, and stdin says nothing
	urza(0, "remove", "BP1", "--yes")
	urza(1, "show", "BP1")
}
