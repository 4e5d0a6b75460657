package contender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
)

// binary is the service's binary as its users run it: all its workers, among
// them the coordinator, which follows every answer. It shows what the parts
// that [service] leaves out cost.
type binary struct {
	*ours
	pid atomic.Int64
}

func newBinary(ctx context.Context, o Options) (Contender, error) {
	c, err := openOurs(ctx, o)
	if err != nil {
		return nil, err
	}
	return &binary{ours: c}, nil
}

// Serve runs the binary. Ready means that it was started: it answers what was
// published before, too.
func (b *binary) Serve(ctx context.Context, ready func()) error {
	cmd := exec.Command(b.opts.Program)
	cmd.Dir = b.opts.Dir // where no .env is
	cmd.Env = append(os.Environ(), ServiceEnvironment(b.opts)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("contender: binary: %w", err)
	}
	b.pid.Store(int64(cmd.Process.Pid))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ready()
	select {
	case err := <-ended:
		return fmt.Errorf("contender: binary: ended by itself: %w", errors.Join(err, errors.New("nobody stopped it")))
	case <-ctx.Done():
	}
	err := cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, <-ended)
}

// PID returns the process that serves, zero before there is one.
func (b *binary) PID() int { return int(b.pid.Load()) }
