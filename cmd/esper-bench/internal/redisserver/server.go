// Package redisserver runs the redis-server that the contenders share, and reads
// what it counted.
package redisserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server process without persistence on a free port of the
// loopback interface. Stop it.
type Server struct {
	addr  string
	dir   string
	cmd   *exec.Cmd
	admin *redis.Client

	cluster bool
	others  []*Server // further nodes of the cluster
}

// Program is what starts where nothing else is asked for.
const Program = "redis-server"

// Start starts a server and waits until it answers. command is split at spaces;
// it may be a profiler's with the server's at its end. args are added to it.
func Start(ctx context.Context, command string, args ...string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("redisserver: %w", err)
	}
	dir, err := os.MkdirTemp("", "esper-bench-redis-")
	if err != nil {
		return nil, fmt.Errorf("redisserver: %w", err)
	}
	s := &Server{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: dir}
	if err := s.start(ctx, port, append(strings.Fields(command), args...)); err != nil {
		return nil, errors.Join(fmt.Errorf("redisserver: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, port int, command []string) error {
	log, err := os.Create(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(command[0], append(command[1:],
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no",
	)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, ReadTimeout: time.Minute})
	return s.await(ctx)
}

// await polls until the server answers, for at most 20 seconds.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", s.addr)
		if err == nil {
			return errors.Join(conn.Close(), s.admin.Ping(ctx).Err())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// ended waits for the end of the process.
func (s *Server) ended(within time.Duration) bool {
	done := make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // what it ended with says no more
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(within):
		return false
	}
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.addr }

// Admin returns a client of the server's own, closed by Stop.
func (s *Server) Admin() *redis.Client { return s.admin }

// Stop ends the server and removes its files. It may be called twice.
func (s *Server) Stop() error {
	errs := []error{stopAll(s.others)}
	s.others = nil
	if s.cmd != nil {
		// By command, since a profiler around the server would not pass a
		// signal on. It answers by closing the connection.
		if _ = s.admin.ShutdownNoSave(context.Background()); !s.ended(10 * time.Second) {
			errs = append(errs, s.cmd.Process.Kill())
		}
		s.cmd = nil
	}
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
		s.admin = nil
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
