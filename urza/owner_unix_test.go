//go:build linux || darwin

package urza_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/esper-lite/esper/urza"
)

// What root adds to the library of another user is that user's.
func TestAddAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const user, group = 1234, 2345
	dir := t.TempDir()
	artifacts := filepath.Join(dir, "var", "urza", "artifacts")
	if err := os.MkdirAll(artifacts, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(artifacts, user, group); err != nil {
		t.Skip("a root that may not chown:", err)
	}
	defer syscall.Umask(syscall.Umask(0o027))
	l := open(t, urza.Config{WorkDir: dir})
	if _, err := l.Add(t.Context(), urza.Addition{BlueprintID: "BP001", File: "kernel.pt", Reader: strings.NewReader("compiled")}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(artifacts, "BP001-*.pt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != user || owner.Gid != group {
		t.Errorf("the artifact belongs to %d:%d, want %d:%d", owner.Uid, owner.Gid, user, group)
	}
}
