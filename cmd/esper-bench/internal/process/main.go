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
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- job.do(ctx, func() { close(ready) }) }()
	select {
	case err := <-done:
		return err
	case <-ready:
	}
	fmt.Println(wordReady)
	if err := job.obey(os.Stdin, os.Stdout); err != nil {
		return err
	}
	cancel()
	return <-done
}

func (j *Job) do(ctx context.Context, ready func()) error {
	kind, err := contender.Find(j.Kind)
	if err != nil {
		return err
	}
	c, err := kind.New(ctx, j.Options)
	if err != nil {
		return err
	}
	defer c.Close()
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
func (j *Job) obey(in io.Reader, out io.Writer) error {
	var (
		marked Usage
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
			marked = Measure()
			fmt.Fprintln(out, wordMark)
		case wordReport:
			usage := Measure().Since(marked)
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
