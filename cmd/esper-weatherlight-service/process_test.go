package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// binary is the built program; it is built once, by the first test that needs it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weatherlight-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "esper-weatherlight-service")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// binaryDir is where binary put it, empty if no test needed it.
var binaryDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

const testSecret = "golden-secret"

// process is the program, running.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout lockedBuffer
	stderr lockedBuffer
	exited chan struct{}
}

// lockedBuffer may be written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts the program in dir, with nothing but env in its environment. It is
// killed with the test.
func start(t testing.TB, dir string, env map[string]string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, dir, env, args...)
}

// startProgram is start for any program.
func startProgram(t testing.TB, path, dir string, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the exit code is read from ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("stdout of %v:\n%s\nstderr:\n%s", args, p.stdout.String(), tail(p.stderr.String(), 4000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// wait returns the exit code; a process that takes longer fails the test.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its stacks go to stderr
		p.t.Fatalf("still running after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate sends SIGTERM and expects an orderly end.
func (p *process) terminate(within time.Duration) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if code := p.wait(within); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "shutdown complete") {
		p.t.Errorf("the last log line is %s", last)
	}
}

// runProgram runs the program to its end.
func runProgram(t testing.TB, dir string, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, dir, env, args...)
	code = p.wait(30 * time.Second)
	return code, p.stdout.String(), p.stderr.String()
}

// with returns env with further pairs.
func with(env map[string]string, pairs ...string) map[string]string {
	merged := make(map[string]string, len(env)+len(pairs)/2)
	maps.Copy(merged, env)
	for i := 0; i < len(pairs); i += 2 {
		merged[pairs[i]] = pairs[i+1]
	}
	return merged
}

// busClient returns a client of the test's own on the bus at url.
func busClient(t testing.TB, url, consumer string) *oona.Client {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "test/here-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := oona.Connect(ctx, oona.Config{URL: url, Codec: codec, Consumer: consumer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// eventually waits until check returns nil, for at most 30 seconds.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// errIf returns an error with text where wrong is true.
func errIf(wrong bool, text string) error {
	if !wrong {
		return nil
	}
	return errors.New(text)
}

// outgoing is a message for a stream that is not its own.
func outgoing(msg proto.Message, stream string) oona.Outgoing {
	return oona.Outgoing{Message: msg, Stream: stream}
}
