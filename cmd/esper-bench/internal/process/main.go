package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
)

// Words of the protocol: one line on the child's stdin, one answer on its
// stdout. The end of stdin ends the child.
const (
	wordReady  = "ready"
	wordMark   = "mark"
	wordReport = "report"
)

// Main is a child's main function: it does the job in text, a [Job] as JSON.
func Main(text string) error {
	var job Job
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return fmt.Errorf("process: job: %w", err)
	}
	if job.CountAllocs || job.Profiles.Mem != "" {
		runtime.MemProfileRate = 1
	}
	if job.MaxProcs > 0 {
		runtime.GOMAXPROCS(job.MaxProcs)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := job.contender(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- job.do(ctx, c, func() { close(ready) }) }()
	select {
	case err := <-done:
		return err
	case <-ready:
	}
	fmt.Println(wordReady)
	if err := job.obey(c, os.Stdin, os.Stdout); err != nil {
		return err
	}
	cancel()
	return <-done
}

func (j *Job) contender(ctx context.Context) (contender.Contender, error) {
	kind, err := contender.Find(j.Kind)
	if err != nil {
		return nil, err
	}
	return kind.New(ctx, j.Options)
}

// measure returns what was used so far, by this process or, where another one
// does the work, by that one.
func measure(c contender.Contender) (Usage, error) {
	program, ok := c.(interface{ PID() int })
	if !ok || program.PID() == 0 {
		return Measure(), nil
	}
	cpu, err := CPU(program.PID())
	return Usage{CPU: cpu, Resident: Resident(program.PID())}, err
}

func (j *Job) do(ctx context.Context, c contender.Contender, ready func()) error {
	if j.Role == Serve {
		return c.Serve(ctx, ready)
	}
	follower, ok := c.(contender.Follower)
	if !ok {
		return fmt.Errorf("process: %s cannot follow", j.Kind)
	}
	return follower.Follow(ctx, ready, func(int) {})
}

// obey does what the parent says until it says no more.
func (j *Job) obey(c contender.Contender, in io.Reader, out io.Writer) error {
	var (
		marked Usage
		err    error
		known  allocations
	)
	profiler := profiler{want: j.Profiles}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch lines.Text() {
		case wordMark:
			if j.CountAllocs {
				known = sites()
			}
			if err := profiler.start(); err != nil {
				return err
			}
			if marked, err = measure(c); err != nil {
				return err
			}
			fmt.Fprintln(out, wordMark)
		case wordReport:
			usage, err := measure(c)
			if err != nil {
				return err
			}
			usage = usage.Since(marked)
			if err := profiler.stop(); err != nil {
				return err
			}
			if j.CountAllocs {
				usage.Sites = since(sites(), known)
			}
			if err := json.NewEncoder(out).Encode(usage); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}
