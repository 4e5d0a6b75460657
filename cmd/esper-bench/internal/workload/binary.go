package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
)

// Binary is what the service's binary needs by itself.
type Binary struct {
	// Start is from starting the process to the answer to a request that was
	// waiting.
	Start time.Duration
	// Resident memory in bytes and CPU as a part of a core, with nothing to do.
	Resident int64
	CPU      float64
}

// module is the repository's, and servicePackage what is built in it where no
// binary is named.
const (
	module         = "github.com/esper-lite/esper"
	servicePackage = "./cmd/esper-weatherlight-service"
)

// build builds the service's binary. It needs the bench's own folder as working
// directory, as go run has it: from there go knows where the repository is.
func build(ctx context.Context, path string) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("workload: find %s: %w", module, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, servicePackage)
	cmd.Dir, cmd.Stderr = strings.TrimSpace(string(dir)), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("workload: build %s: %w", servicePackage, err)
	}
	return nil
}

// program builds the service's binary, unless one is named or was built before.
func (b *Bench) program(ctx context.Context) error {
	if b.Program != "" {
		return nil
	}
	path := filepath.Join(b.Dir, "service")
	if err := build(ctx, path); err != nil {
		return err
	}
	b.Program = path
	return nil
}

// idleFor is how long a service without work is watched, after it had settled.
const (
	settleFor = 3 * time.Second
	idleFor   = 20 * time.Second
)

// Binary starts the service's binary beside a request that waits and then watches
// it do nothing.
func (b *Bench) Binary(ctx context.Context) (m Binary, err error) {
	k, err := contender.Find("binary")
	if err != nil {
		return m, err
	}
	if err := b.prepare(ctx, k); err != nil {
		return m, err
	}
	c, err := k.New(ctx, b.options("bench-asker"))
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Publish(ctx, 0, 1); err != nil {
		return m, err
	}
	cmd := exec.CommandContext(ctx, b.Program)
	cmd.Dir = b.Dir // where no .env is
	cmd.Env = append(os.Environ(), contender.ServiceEnvironment(b.options("service"))...)
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return m, fmt.Errorf("workload: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, cmd.Wait())
	}()
	if err := awaitAnswers(ctx, c, 1); err != nil {
		return m, err
	}
	m.Start = time.Since(start)
	return m, m.watch(cmd.Process.Pid)
}

// watch measures a process that has nothing to do.
func (m *Binary) watch(pid int) error {
	time.Sleep(settleFor)
	before, err := process.CPU(pid)
	if err != nil {
		return err
	}
	time.Sleep(idleFor)
	after, err := process.CPU(pid)
	if err != nil {
		return err
	}
	m.CPU = (after - before).Seconds() / idleFor.Seconds()
	m.Resident = process.Resident(pid)
	return nil
}
