package infra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPICheck tries .ci/api on a clone: without a tag, without a change, with an
// addition, with a function that is gone, and with a version that allows that.
func TestAPICheck(t *testing.T) {
	if os.Getenv("WEATHERLIGHT_TEST_RELEASE") != "1" {
		t.Skip("it compiles every package, which takes minutes: only with WEATHERLIGHT_TEST_RELEASE=1")
	}
	clone := filepath.Join(t.TempDir(), "clone")
	command(t, nil, "git", "clone", "--quiet", "--no-tags", "..", clone)
	git := func(args ...string) {
		t.Helper()
		command(t, nil, "git", append([]string{"-C", clone, "-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...)
	}
	for _, file := range []string{"api", "tools.mod", "tools.sum"} { // as they are worked on
		copyTo(t, filepath.Join("../.ci", file), filepath.Join(clone, ".ci", file))
	}
	write(t, filepath.Join(clone, "leyline/promise.go"), []byte("package leyline\n\nfunc Promise() {}\n"))
	git("add", "--all")
	git("commit", "--quiet", "-m", "a promise")
	check := func(compatible bool, want string) {
		t.Helper()
		out, err := exec.Command(filepath.Join(clone, ".ci/api")).CombinedOutput()
		if (err == nil) != compatible || !strings.Contains(string(out), want) {
			t.Errorf(".ci/api: %v\n%swant %q", err, out, want)
		}
	}
	check(true, "no tag yet")
	git("tag", "v0.3.1")
	write(t, filepath.Join(clone, "leyline/more.go"), []byte("package leyline\n\nfunc More() {}\n"))
	check(true, "compatible with v0.3.1")
	if err := os.Remove(filepath.Join(clone, "leyline/promise.go")); err != nil {
		t.Fatal(err)
	}
	check(false, "Promise: removed")
	for version, allowed := range map[string]bool{"v0.3.2": false, "v0.4.0": true} {
		write(t, filepath.Join(clone, ".ci/next-version"), []byte(version+"\n"))
		check(allowed, "v0.4.0")
	}
}
