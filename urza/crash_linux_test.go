package urza_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/esper-lite/esper/urza"
)

// The crash test kills a helper process at every system call of a save in turn.
// URZA_CRASH_KILLS sets how many kills there are to be at least; without it a
// few are spread over each kind of save.
const crashKillsVariable = "URZA_CRASH_KILLS"

// crashes are the kinds of saves. Each starts from a library with the record BP
// of content "old …" and may leave it, or what it is meant to make of it.
var crashes = map[string]struct {
	arrange func() error // what is there before, if not nil
	act     func(ctx context.Context, l *urza.Library) error
	// allowed says whether the records, by id and content, are as before or as after.
	allowed func(records map[string]string) bool
}{
	"add": {
		nil,
		func(ctx context.Context, l *urza.Library) error { return save(ctx, l, "NEW", newContent) },
		func(r map[string]string) bool {
			return r["BP"] == oldContent && (r["NEW"] == "" || r["NEW"] == newContent)
		},
	},
	"replace": {
		nil,
		func(ctx context.Context, l *urza.Library) error { return save(ctx, l, "BP", newContent) },
		func(r map[string]string) bool { return r["BP"] == oldContent || r["BP"] == newContent },
	},
	"update": {
		nil,
		func(ctx context.Context, l *urza.Library) error {
			_, err := l.Update(ctx, "BP", func(r *urza.Record) error { r.Tags = append(r.Tags, "x"); return nil })
			return err
		},
		func(r map[string]string) bool { return r["BP"] == oldContent },
	},
	"remove": {
		nil,
		func(ctx context.Context, l *urza.Library) error { return l.Remove(ctx, "BP") },
		func(r map[string]string) bool { return r["BP"] == oldContent || r["BP"] == "" },
	},
	"takeover": { // of a save that the Python side left pending: it is never lost
		pendingSave,
		func(ctx context.Context, _ *urza.Library) error {
			l, err := urza.Open(ctx, urza.Config{})
			if err != nil {
				return err
			}
			return l.Close()
		},
		func(r map[string]string) bool { return r["BP"] == oldContent && r["NEW"] == newContent },
	},
	"maintain": {
		func() error { return os.WriteFile("var/urza/artifacts/"+orphan, []byte("x"), 0o644) },
		func(ctx context.Context, l *urza.Library) error {
			_, err := l.Maintain(ctx, urza.MaintenanceOptions{MinAge: -1})
			return err
		},
		func(r map[string]string) bool { return r["BP"] == oldContent },
	},
}

const (
	beginMark = "/urza-crash-begin"
	endMark   = "/urza-crash-end"
)

var (
	oldContent = "old " + strings.Repeat("o", 100_000)
	newContent = "new " + strings.Repeat("n", 700_000) // more than one chunk
)

func save(ctx context.Context, l *urza.Library, id, content string) error {
	_, err := l.Add(ctx, urza.Addition{BlueprintID: id, File: "kernel.pt", Reader: strings.NewReader(content), Edit: func(r *urza.Record) error {
		r.Descriptor.Name = content[:3]
		return nil
	}})
	return err
}

// pendingSave leaves what the Python side leaves when it dies before it writes
// the row.
func pendingSave() error {
	const name = "var/urza/artifacts/python.pt"
	if err := os.WriteFile(name, []byte(newContent), 0o644); err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	pending := fmt.Sprintf(`{"blueprint_id":"NEW","artifact_path":%q,"descriptor":{"blueprint_id":"NEW","name":"new"},`+
		`"extras":{"checksum":%q,"artifact_mtime":%s}}`,
		name, sumOf(newContent), urza.FormatFloat(urza.UnixSeconds(info.ModTime()), 64))
	return os.WriteFile("var/urza/urza_wal.json", []byte(pending), 0o644)
}

func init() {
	for name, crash := range crashes {
		helpers["crash-"+name] = func() error {
			l, err := urza.Open(context.Background(), urza.Config{})
			if err != nil {
				return err
			}
			if crash.arrange != nil {
				if err := crash.arrange(); err != nil {
					return err
				}
			}
			os.Stat(beginMark)
			err = crash.act(context.Background(), l)
			os.Stat(endMark)
			return errors.Join(err, l.Close())
		}
	}
}

func TestCrashAtEverySystemCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil || exec.Command(strace, "-qq", "-o", os.DevNull, "true").Run() != nil {
		if strict() {
			t.Fatal("strace is missing, or may not trace")
		}
		t.Skip("strace is missing, or may not trace")
	}
	least, _ := strconv.Atoi(os.Getenv(crashKillsVariable))
	kills := 0
	for round := 0; ; round++ {
		for _, name := range slices.Sorted(maps.Keys(crashes)) {
			dir := t.TempDir()
			points := systemCalls(t, strace, name, prepared(t, dir))
			if least == 0 {
				points = slices.Collect(everyNth(points, len(points)/4+1))
			}
			before := kills
			for _, at := range points {
				prepared(t, dir)
				if killed(t, strace, name, dir, at) {
					kills++
				}
				checkAfterCrash(t, dir, name, at)
				if t.Failed() {
					return
				}
			}
			t.Logf("%s: %d system calls, %d kills", name, len(points), kills-before)
		}
		if kills >= least {
			break
		}
	}
	if kills == 0 {
		t.Error("nothing was killed")
	}
	t.Logf("%d kills", kills)
}

func everyNth[T any](list []T, n int) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for i := 0; i < len(list); i += n {
			if !yield(list[i]) {
				return
			}
		}
	}
}

// prepared brings the library in dir to the state that every crash starts from.
func prepared(t *testing.T, dir string) string {
	t.Helper()
	l, err := urza.Open(t.Context(), urza.Config{WorkDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, e := range l.List(urza.Query{}) {
		if e.BlueprintID != "BP" {
			if err := l.Remove(t.Context(), e.BlueprintID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e, ok := l.Lookup("BP"); !ok || e.Name != "old" {
		if err := save(t.Context(), l, "BP", oldContent); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// call is the n-th call of one kind on the main thread.
type call struct {
	name string
	n    int
}

var tracedCall = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\(`)

// runtimeCalls are what the Go runtime makes by itself, at times of its own.
var runtimeCalls = []string{"futex", "sched_yield", "nanosleep", "madvise", "mmap", "munmap", "rt_sigprocmask", "rt_sigreturn",
	"tgkill", "getpid", "gettid", "epoll_pwait", "clone", "clone3", "sigaltstack", "prctl"}

// systemCalls traces one save and returns its calls, as positions to kill at.
func systemCalls(t *testing.T, strace, name, dir string) []call {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	if out, err := helper(t, dir, name, strace, "-f", "-qq", "-o", trace).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var thread string
	var calls []call
	made := map[string]int{}
	within := false
	for line := range strings.Lines(string(text)) {
		m := tracedCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if thread == "" {
			thread = m[1] // the first line is the process's own
		}
		if m[1] != thread {
			continue
		}
		made[m[2]]++
		switch {
		case strings.Contains(line, beginMark):
			within = true
		case strings.Contains(line, endMark):
			within = false
		case within && !slices.Contains(runtimeCalls, m[2]):
			calls = append(calls, call{m[2], made[m[2]]})
		}
	}
	if len(calls) == 0 {
		t.Fatalf("no system calls in the trace:\n%.2000s", text)
	}
	return calls
}

func helper(t *testing.T, dir, name string, command ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command = append(command, self)
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = helperEnv("crash-" + name)
	return cmd
}

// killed runs a save that is killed when it is about to make a call, and
// reports whether it came to that.
func killed(t *testing.T, strace, name, dir string, at call) bool {
	t.Helper()
	inject := fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", at.name, at.n)
	out, err := helper(t, dir, name, strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+at.name, "-e", inject).CombinedOutput()
	if err == nil {
		return false
	}
	// strace ends as its tracee did.
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || !strings.Contains(exit.String(), "killed") {
		t.Errorf("%s at %v: %v\n%s", name, at, err, out)
	}
	return true
}

// checkAfterCrash opens the library that a crash left behind. Every record has
// to have its whole artifact, and maintenance to leave nothing else.
func checkAfterCrash(t *testing.T, dir, name string, at call) {
	t.Helper()
	l, err := urza.Open(t.Context(), urza.Config{WorkDir: dir})
	if err != nil {
		t.Fatalf("%s at %v: %v", name, at, err)
	}
	defer l.Close()
	records, files := map[string]string{}, map[string]bool{}
	for _, e := range l.List(urza.Query{}) {
		if _, err := l.Resolve(t.Context(), e.BlueprintID); err != nil {
			t.Errorf("%s at %v: %v", name, at, err)
		}
		content, err := os.ReadFile(filepath.Join(dir, e.ArtifactPath))
		if err != nil {
			t.Errorf("%s at %v: %v", name, at, err)
		}
		if e.Name != string(content[:min(len(content), 3)]) || e.Checksum != sumOf(string(content)) {
			t.Errorf("%s at %v: row and artifact of %s are of two versions", name, at, e.BlueprintID)
		}
		records[e.BlueprintID] = string(content)
		files[filepath.Base(e.ArtifactPath)] = true
	}
	if !crashes[name].allowed(records) {
		t.Errorf("%s at %v: records are neither as before nor as after", name, at)
	}
	report, err := l.Maintain(t.Context(), urza.MaintenanceOptions{Disposal: urza.Delete, MinAge: -1})
	if err != nil || len(report.Failures) > 0 || len(report.Missing) > 0 {
		t.Errorf("%s at %v: maintenance: %+v, %v", name, at, report, err)
	}
	os.RemoveAll(filepath.Join(dir, "var/urza/artifacts/quarantine"))
	for file := range artifacts(t, dir) {
		if !files[file] {
			t.Errorf("%s at %v: %s is left", name, at, file)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "var/urza"))
	if err != nil || len(entries) != 2 {
		t.Errorf("%s at %v: the library root holds %v, %v", name, at, entries, err)
	}
}
