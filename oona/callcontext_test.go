package oona_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// The context of a follower's handler ends at its deadline, in every way in which a
// handler can find out; it ends with the call, and with the follower.
func TestFollowDeadline(t *testing.T) {
	const timeout = 2 * time.Second
	waits := map[string]func(ctx context.Context) error{
		"Done": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"derived": func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		},
		"AfterFunc": func(ctx context.Context) error {
			called := make(chan struct{})
			defer context.AfterFunc(ctx, func() { close(called) })()
			<-called
			return ctx.Err()
		},
		"Err": func(ctx context.Context) error {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
		"Deadline": func(ctx context.Context) error {
			at, _ := ctx.Deadline()
			time.Sleep(time.Until(at))
			return ctx.Err()
		},
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, rdb *redis.Client) {
				c := newClient(t, rdb, "a")
				publishReady(t, c, []string{"r"})
				var kept context.Context
				ended := make(chan struct{})
				h := oona.Each(func(ctx context.Context, _ *pb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
					defer close(ended)
					began := time.Now()
					if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began).Round(10*time.Millisecond) != timeout {
						t.Errorf("%v after %v", err, time.Since(began))
					}
					kept = ctx
					return nil, nil
				})
				stop := followUntil(t, c, oona.Following{From: oona.Cursor{c.Streams().KernelReady: {}}, HandlerTimeout: timeout}, h)
				<-ended
				stop()
				if kept.Err() == nil {
					t.Error("the context outlives the call")
				}
				<-kept.Done()
			})
		})
	}
	t.Run("stop", func(t *testing.T) {
		inBubble(t, func(t *testing.T, rdb *redis.Client) {
			c := newClient(t, rdb, "a")
			publishReady(t, c, []string{"r"})
			began := make(chan struct{})
			h := oona.Each(func(ctx context.Context, _ *pb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
				close(began)
				<-ctx.Done()
				if err := ctx.Err(); err != context.Canceled {
					t.Error(err)
				}
				return nil, ctx.Err()
			})
			stop := followUntil(t, c, oona.Following{From: oona.Cursor{c.Streams().KernelReady: {}}, HandlerTimeout: time.Hour}, h)
			<-began
			stop()
		})
	})
}

// What a handler was told of its context stays true, also after the call: Err says
// the same, and Cause says why.
func TestFollowContextKeepsItsError(t *testing.T) {
	const timeout = 2 * time.Second
	for name, tc := range map[string]struct {
		takes time.Duration
		want  error
	}{
		"in time":       {time.Second, context.Canceled},
		"past deadline": {3 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, rdb *redis.Client) {
				c := newClient(t, rdb, "a")
				publishReady(t, c, []string{"r"})
				var kept context.Context
				h := oona.Each(func(ctx context.Context, _ *pb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
					kept = ctx
					time.Sleep(tc.takes)
					late := tc.takes > timeout
					if cause := context.Cause(ctx); (cause != nil) != late || cause == context.DeadlineExceeded {
						t.Errorf("cause %v", cause)
					}
					if err := ctx.Err(); (err != nil) != late || late && err != tc.want {
						t.Errorf("error %v", err)
					}
					return nil, nil
				})
				stop := followUntil(t, c, oona.Following{From: oona.Cursor{c.Streams().KernelReady: {}}, HandlerTimeout: timeout}, h)
				time.Sleep(tc.takes + time.Millisecond)
				synctest.Wait()
				for range 2 {
					if err := kept.Err(); err != tc.want {
						t.Errorf("error %v after the call, want %v", err, tc.want)
					}
					time.Sleep(timeout)
					<-kept.Done()
				}
				stop()
			})
		})
	}
}
