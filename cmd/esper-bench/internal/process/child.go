package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Child is a process that does a [Job]. Stop it.
type Child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts a child and returns when it is ready. ctx ends it.
func Start(ctx context.Context, job Job) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	text, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, Command, string(text))
	cmd.Stderr = os.Stderr
	// In a group, so that a signal also reaches what the child runs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	c := &Child{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := c.expect(wordReady); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// expect reads one line of the child.
func (c *Child) expect(word string) error {
	line, err := c.out.ReadString('\n')
	if err == nil && line != word+"\n" {
		err = fmt.Errorf("%q", line)
	}
	if err != nil {
		return fmt.Errorf("process: waiting for %q: %w", word, err)
	}
	return nil
}

// Mark begins a measurement.
func (c *Child) Mark() error {
	if _, err := io.WriteString(c.in, wordMark+"\n"); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	return c.expect(wordMark)
}

// Report ends a measurement and returns what was used since Mark.
func (c *Child) Report() (Usage, error) {
	var u Usage
	_, err := io.WriteString(c.in, wordReport+"\n")
	if err == nil {
		var line []byte
		if line, err = c.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &u)
		}
	}
	if err != nil {
		return u, fmt.Errorf("process: report: %w", err)
	}
	return u, nil
}

// Pause stops the process until Resume, as it stands.
func (c *Child) Pause() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (c *Child) Resume() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGCONT) }

// Stop tells the child to end in order and waits for it.
func (c *Child) Stop() error {
	err := c.in.Close()
	if waitErr := c.cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("process: child: %w", waitErr))
	}
	return err
}
