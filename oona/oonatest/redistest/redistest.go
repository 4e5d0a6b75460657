//go:build unix

// Package redistest starts real redis-server processes for tests.
package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StrictVariable names the environment variable that, set to 1, makes a test
// fail instead of being skipped when the machine has no redis-server.
const StrictVariable = "WEATHERLIGHT_TEST_STRICT"

// Server is a redis-server process of a test. It keeps an append-only file that
// is written before every reply, so what it acknowledged survives [Server.Kill].
type Server struct {
	t    testing.TB
	dir  string
	port int
	args []string
	tls  *tls.Config
	cmd  *exec.Cmd
}

// Start starts a server on a free port of the loopback interface and waits until
// it answers. args are added to its command line. It ends with the test. A
// machine without redis-server skips the test, or fails it where
// [StrictVariable] is set.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := newServer(t, args)
	s.Restart()
	return s
}

func newServer(t testing.TB, args []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "redis-server")
	}
	s := &Server{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	t.Cleanup(s.Kill)
	return s
}

// missing skips a test that needs a program, or fails it.
func missing(t testing.TB, program string) {
	t.Helper()
	if os.Getenv(StrictVariable) == "1" {
		t.Fatalf("redistest: no %s on this machine, and %s=1 forbids to skip", program, StrictVariable)
	}
	t.Skipf("redistest: no %s on this machine", program)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Addr returns host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Dir returns the folder of the append-only file.
func (s *Server) Dir() string { return s.dir }

// URL returns the address for oona.Connect.
func (s *Server) URL() string {
	if s.tls != nil {
		return "rediss://" + s.Addr() + "/0"
	}
	return "redis://" + s.Addr() + "/0"
}

// Client returns a new client of the server, closed with the test. It repeats no
// command.
func (s *Server) Client() *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, TLSConfig: s.tls.Clone()})
	s.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Restart starts the server, again after Kill, and waits until it has loaded its
// data.
func (s *Server) Restart() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	defer func() { _ = log.Close() }()
	args := append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always",
	}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	if err := s.await(); err != nil {
		text, _ := os.ReadFile(log.Name())
		s.t.Fatalf("redistest: %v\n%s", err, text)
	}
}

// await polls until the server answers, for at most 20 seconds.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, TLSConfig: s.tls.Clone()})
	defer func() { _ = rdb.Close() }()
	for {
		err := rdb.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends the server at once, as a crash would, and waits for its end. It does
// nothing to a server that is not running.
func (s *Server) Kill() { s.signal(syscall.SIGKILL, true) }

// Freeze stops the server without ending it, until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP, false) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT, false) }

func (s *Server) signal(sig os.Signal, wait bool) {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("redistest: %v", err)
	}
	if wait {
		_ = s.cmd.Wait() // killed: its status says no more
		s.cmd = nil
	}
}
