//go:build linux

package tamiyo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/tamiyo"
)

// crashDir names the variable that makes this test binary the process that is
// killed: it applies all updates to the directory and ends.
const crashDir = "TAMIYO_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(swapIn(dir))
	}
	os.Exit(m.Run())
}

func crashUpdates() []published { return []published{update(1, ""), update(2, ""), update(3, "")} }

func swapIn(dir string) int {
	runtime.LockOSThread() // strace counts the calls of each thread on its own
	c, err := tamiyo.Open(context.Background(), tamiyo.Config{Bus: newStream(crashUpdates()...), Dir: dir})
	if err == nil {
		err = c.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKilledAtEverySystemCall kills the process at each call, in turn, of the
// system calls that a swap makes. Afterwards the directory holds the old policy
// or the new one, whole, and the next process ends where it would have ended.
func TestKilledAtEverySystemCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("WEATHERLIGHT_TEST_STRICT") == "1" {
			t.Fatal("no strace on this machine, and WEATHERLIGHT_TEST_STRICT=1 forbids to skip")
		}
		t.Skip("no strace on this machine")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var kills atomic.Int64
	// All that a swap makes: those that change something, and those in between.
	for _, call := range []string{
		"openat", "write", "fsync", "close", "renameat", "unlinkat", "flock",
		"newfstatat", "fstat", "fcntl", "getdents64", "read", "mkdirat", "epoll_ctl",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := filepath.Join(t.TempDir(), fmt.Sprint(n)) // made by the process
				killed := runKilled(t, strace, self, dir, call, n)
				checkWhole(t, dir, fmt.Sprintf("%s %d", call, n))
				if !killed {
					return
				}
				kills.Add(1)
			}
		})
	}
	t.Cleanup(func() { t.Logf("killed %d times", kills.Load()) })
}

// runKilled runs the process until it is killed at the n-th call; it reports
// false when it ended before that.
func runKilled(t *testing.T, strace, self, dir, call string, n int) bool {
	t.Helper()
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull,
		"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n), self)
	cmd.Env = append(os.Environ(), crashDir+"="+dir, "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() == 1 {
		t.Fatalf("%s %d: %v: %s", call, n, err, out) // it failed instead of being killed
	}
	return true
}

// checkWhole reads what a killed process left and lets another one finish.
func checkWhole(t *testing.T, dir, when string) {
	t.Helper()
	left, err := tamiyo.ReadState(dir)
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	if want := left.Cursor["oona.policy"].ID.Ms; uint64(len(left.Applied)) != want {
		t.Errorf("%s: %d updates applied, but the cursor is behind %d", when, len(left.Applied), want)
	}
	c := open(t, tamiyo.Config{Bus: newStream(crashUpdates()...), Dir: dir})
	follow(t, c)
	done, err := tamiyo.ReadState(dir)
	if err != nil || done.Current.PolicyID != "policy-3" || done.Previous.PolicyID != "policy-2" {
		t.Errorf("%s: in the end %+v, %v", when, done.Current, err)
	}
	seen := make(map[string]int)
	for _, digest := range done.Applied {
		seen[digest]++
	}
	if diff := cmp.Diff(3, len(seen)); diff != "" || len(done.Applied) != 3 {
		t.Errorf("%s: applied %v", when, done.Applied)
	}
	if rest, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(rest) > 0 {
		t.Errorf("%s: left %v", when, rest)
	}
}
