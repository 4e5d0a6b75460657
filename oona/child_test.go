package oona_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Tests of what happens when processes die run this test binary again, as a
// service that a test may kill.
const (
	childVariable = "OONA_TEST_CHILD" // the consumer's name
	childURL      = "OONA_TEST_CHILD_URL"
	childReclaim  = "OONA_TEST_CHILD_RECLAIM"
	childJournal  = "OONA_TEST_CHILD_HANDLINGS" // the file that tells of its handlings
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		if err := serveAsChild(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveAsChild answers requests until it is told to stop. A request whose id
// begins with "killer" ends the process in its handler.
func serveAsChild(name string) error {
	reclaim, err := time.ParseDuration(os.Getenv(childReclaim))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	codec, err := codecOf(secret)
	if err != nil {
		return err
	}
	c, err := oona.Connect(ctx, oona.Config{URL: os.Getenv(childURL), Codec: codec, Consumer: name})
	if err != nil {
		return err
	}
	sub := oona.Subscription{Stream: c.Streams().KernelRequests, Group: "weatherlight", ReclaimIdle: reclaim}
	file, err := os.OpenFile(os.Getenv(childJournal), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	answer := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
		if strings.HasPrefix(r.GetRequestId(), "killer") {
			os.Exit(7)
		}
		return []proto.Message{ready(r.GetRequestId())}, nil
	})
	return c.Consume(ctx, sub, &handlings{Handler: answer, file: file})
}

// child is a process that consumes.
type child struct {
	cmd       *exec.Cmd
	name      string
	handlings string        // the file
	done      chan struct{} // closed when it has ended
	ended     time.Time     // when that was
	frozen    bool
	freezes   []span // with the time after them in which it may not know what it lost
}

// spawn starts a child; it is killed with the test.
func spawn(t testing.TB, url, name string, reclaim time.Duration) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe), name: name, handlings: filepath.Join(t.TempDir(), "handlings"), done: make(chan struct{})}
	cmd := c.cmd
	cmd.Env = append(os.Environ(), childVariable+"="+name, childURL+"="+url, childReclaim+"="+reclaim.String(), childJournal+"="+c.handlings)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is for the test to know
		c.ended = time.Now()
		close(c.done)
	}()
	t.Cleanup(c.kill)
	return c
}

// kill ends the child at once and waits for its end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	at := time.Now()
	<-c.done
	if at.Before(c.ended) {
		c.ended = at // it was told late
	}
}

func (c *child) signal(t testing.TB, s os.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
}
