// Package examples_test builds and runs the examples and compares what they print
// with what their comments say: the last indented block above the package clause,
// in which … stands for what differs from run to run. Examples with tests of their
// own are left to these.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asking are the examples that need a service on a bus, with the arguments that
// their comments give them.
var asking = map[string][]string{
	"publish-request": {"BP001", "BP404"},
	"trainer":         {"-seeds", "2", "BP001", "BP404"},
}

// interrupted are the examples that run until Ctrl-C, which comes when they have
// printed their first line.
var interrupted = map[string]bool{"worker": true}

// maxLines is how long an example may be, so that it is read.
const maxLines = 100

const testSecret = "a secret of the tests"

func TestExamples(t *testing.T) {
	mains, err := filepath.Glob("*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatal("no examples", err)
	}
	bin := t.TempDir()
	build(t, bin, "./...", "../cmd/esper-weatherlight-service")
	bus := startService(t, filepath.Join(bin, "esper-weatherlight-service"))
	for _, main := range mains {
		dir := filepath.Dir(main)
		if own, _ := filepath.Glob(filepath.Join(dir, "*_test.go")); len(own) > 0 {
			continue
		}
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(main)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(source, []byte("\n")); n > maxLines {
				t.Errorf("%s has %d lines", main, n)
			}
			promised := promisedOutput(string(source))
			if promised == "" {
				t.Fatalf("%s does not say what it prints", main)
			}
			args, asks := asking[dir]
			envs := [][]string{{"TMPDIR=" + t.TempDir()}}
			if asks {
				envs = waysToSettings(t, bus)
			}
			for _, env := range envs {
				got := output(t, env, interrupted[dir], filepath.Join(bin, dir), args...)
				if !matches(promised, got) {
					t.Errorf("not what its comment says (-want +got):\n%s", cmp.Diff(promised, got))
				}
			}
		})
	}
	t.Run("failures", func(t *testing.T) { t.Parallel(); testFailures(t, bin, bus) })
}

// waysToSettings returns the settings of the examples that ask, once with the
// secret itself and once with the file that it is in.
func waysToSettings(t *testing.T, bus string) [][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return [][]string{
		{"REDIS_URL=" + bus, "ESPER_LEYLINE_SECRET=" + testSecret},
		{"REDIS_URL=" + bus, "ESPER_LEYLINE_SECRET_FILE=" + file},
	}
}

// testFailures: what goes wrong ends an example with exit code 1 and says what.
func testFailures(t *testing.T, bin, bus string) {
	url, secret := "REDIS_URL="+bus, "ESPER_LEYLINE_SECRET="+testSecret
	const unset = "ESPER_LEYLINE_SECRET, or ESPER_LEYLINE_SECRET_FILE: leyline: no signing secret"
	for name, tc := range map[string]struct {
		example string
		args    []string
		env     []string
		want    string
	}{
		"trainer without a secret":  {"trainer", []string{"BP001"}, []string{url}, unset},
		"request without a secret":  {"publish-request", []string{"BP001"}, []string{url}, unset},
		"request with no such file": {"publish-request", []string{"BP001"}, []string{url, "ESPER_LEYLINE_SECRET_FILE=/none"}, "/none: no such file"},
		"trainer, all seeds culled": {"trainer", []string{"-seeds", "2", "BP404"}, []string{url, secret}, "no seed reached TRAINING"},
		"trainer without blueprint": {"trainer", nil, []string{url, secret}, "no seed reached TRAINING"},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, tc.example), tc.args...)
		cmd.Env = tc.env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: %v, %s; want exit code 1 and %q", name, err, stderr.String(), tc.want)
		}
	}
}

func build(t *testing.T, bin string, packages ...string) {
	t.Helper()
	args := append([]string{"build", "-o", bin + string(filepath.Separator)}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

// promisedOutput returns the last indented block of the comment above the
// package clause.
func promisedOutput(source string) string {
	comment, _, _ := strings.Cut(source, "\npackage ")
	var block []string
	within := false
	for line := range strings.SplitSeq(comment, "\n") {
		text, indented := strings.CutPrefix(line, "//\t")
		if indented && !within {
			block = nil
		}
		if indented {
			block = append(block, text)
		}
		within = indented
	}
	if len(block) == 0 {
		return ""
	}
	return strings.Join(block, "\n") + "\n"
}

// matches compares an output with a pattern in which … stands for anything.
func matches(pattern, output string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), "…", ".*")
	return regexp.MustCompile("^" + quoted + "$").MatchString(output)
}

// output runs a program to its end, which must be a good one, and returns what it
// printed. One that is to be interrupted gets SIGINT after its first line.
func output(t *testing.T, env []string, interrupt bool, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout := bufio.NewReader(pipe)
	first, err := stdout.ReadString('\n')
	if err == nil && interrupt {
		err = cmd.Process.Signal(os.Interrupt)
	}
	rest, readErr := io.ReadAll(stdout)
	if err := errors.Join(cmd.Wait(), err, readErr); err != nil {
		t.Fatalf("%s %v: %v\n%s%s%s", program, args, err, first, rest, stderr.String())
	}
	return first + string(rest)
}

// startService starts the service with a bus inside and one kernel in its
// library, and returns the address of the bus. It ends with the test.
func startService(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	kernel := filepath.Join(dir, "kernel.pt")
	if err := os.WriteFile(kernel, []byte("compiled\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"ESPER_LEYLINE_SECRET=" + testSecret,
		"URZA_DATABASE_URL=sqlite:///" + filepath.Join(dir, "catalog.db"),
		"URZA_ARTIFACT_DIR=" + filepath.Join(dir, "artifacts"),
		"TAMIYO_POLICY_DIR=" + filepath.Join(dir, "policies"),
	}
	output(t, env, false, program, "urza", "add", kernel, "--blueprint", "BP001")
	addr := freeAddress(t)
	service := exec.Command(program, "run", "--embedded", "--listen", addr)
	service.Dir, service.Env = dir, env
	var log bytes.Buffer
	service.Stderr = &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Signal(syscall.SIGTERM)
		if err := service.Wait(); err != nil {
			t.Errorf("the service ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the service said:\n%s", log.String())
		}
	})
	return "redis://" + addr + "/0"
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
