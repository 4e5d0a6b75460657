package oona_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// companions is a handler that fails the test when one of the first requests, the
// suspects, is handled beside any other.
type companions struct {
	t        testing.TB
	suspects int
	running  atomic.Int64
}

func (c *companions) Handle(ctx context.Context, batch []*oona.Message) []oona.Result {
	n := c.running.Add(int64(len(batch)))
	defer c.running.Add(-int64(len(batch)))
	for _, m := range batch {
		if c.suspect(m) && n != 1 {
			c.t.Errorf("a suspect is handled beside %d others", n-1)
		}
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
	if got := c.running.Load(); got != 1 && c.suspect(batch[0]) {
		c.t.Errorf("%d came beside a suspect", got-1)
	}
	results := make([]oona.Result, len(batch))
	for i, m := range batch {
		results[i].Answers = []proto.Message{ready(m.Body.(*pb.KernelPrefetchRequest).GetRequestId())}
	}
	return results
}

func (c *companions) suspect(m *oona.Message) bool {
	number, err := strconv.Atoi(strings.TrimPrefix(m.Body.(*pb.KernelPrefetchRequest).GetRequestId(), "req-"))
	return err == nil && number < c.suspects
}
