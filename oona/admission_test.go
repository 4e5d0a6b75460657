package oona_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Priorities are refused one after the other while work piles up; what is done
// does not count, and neither does a followed stream.
func TestBackPressure(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", MaxQueueDepth: 100})
		if err != nil {
			t.Fatal(err)
		}
		stream := c.Streams().KernelRequests
		fill := func(n int) {
			t.Helper()
			for range n {
				add(t, rdb, stream, map[string]any{"bootstrap": "1"})
			}
			if err := c.Sample(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		accepted := func() (names []string) {
			t.Helper()
			for _, p := range []pb.MessagePriority{0, 1, 2, 3, 4} {
				_, err := c.Send(t.Context(), oona.Outgoing{Message: request("x"), Stream: stream, Priority: p})
				var pressure *oona.BackPressureError
				switch {
				case err == nil:
					names = append(names, strings.TrimPrefix(p.String(), "MESSAGE_PRIORITY_"))
				case !errors.Is(err, oona.ErrBackPressure) || !errors.As(err, &pressure) || pressure.Stream != stream || pressure.Waiting < pressure.Limit:
					t.Fatalf("%v: %v", p, err)
				}
			}
			return names
		}
		fill(1000) // nobody reads: nothing waits for anybody
		all := []string{"UNSPECIFIED", "LOW", "NORMAL", "HIGH", "CRITICAL"}
		if diff := cmp.Diff(all, accepted()); diff != "" {
			t.Errorf("without a group (-want +got):\n%s", diff)
		}
		rdb.XTrimMaxLen(t.Context(), stream, 0)
		rdb.XGroupCreate(t.Context(), stream, "weatherlight", "0")
		for _, step := range []struct {
			depth int64
			want  []string
		}{
			{40, all},
			{50, []string{"UNSPECIFIED", "NORMAL", "HIGH", "CRITICAL"}},
			{75, []string{"HIGH", "CRITICAL"}},
			{86, []string{"CRITICAL"}},
			{96, nil},
		} {
			fill(int(step.depth - rdb.XLen(t.Context(), stream).Val()))
			if diff := cmp.Diff(step.want, accepted()); diff != "" {
				t.Errorf("at %d (-want +got):\n%s", step.depth, diff)
			}
		}
		if err := metricIs(c, "oona.queue.depth", 96); err != nil {
			t.Error(err)
		}
		// Pending entries wait too, finished ones do not.
		ids := readAs(t, rdb, stream, "somebody", 96)
		fill(0)
		if got := accepted(); got != nil {
			t.Errorf("accepted %v with 96 pending", got)
		}
		for _, e := range ids {
			rdb.XAck(t.Context(), stream, "weatherlight", e.ID)
		}
		fill(0)
		if diff := cmp.Diff(all, accepted()); diff != "" {
			t.Errorf("when all is done (-want +got):\n%s", diff)
		}
	})
}

// While its stream is clogged, an urgent message goes around it; answers and
// those of the same call that are not urgent do not.
func TestConservativeMode(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", MaxQueueDepth: 100})
		if err != nil {
			t.Fatal(err)
		}
		s := c.Streams()
		for _, stream := range []string{s.KernelRequests, s.KernelReady} {
			rdb.XGroupCreateMkStream(t.Context(), stream, "weatherlight", "0")
			for range 80 {
				add(t, rdb, stream, map[string]any{"bootstrap": "1"})
			}
		}
		if err := c.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
		high := pb.MessagePriority_MESSAGE_PRIORITY_HIGH
		receipts, err := c.Send(t.Context(),
			oona.Outgoing{Message: request("urgent"), Priority: high},
			oona.Outgoing{Message: request("not urgent")},
			oona.Outgoing{Message: ready("answer"), Priority: high},
			oona.Outgoing{Message: &pb.FieldReport{ReportId: "elsewhere"}, Priority: high},
		)
		var got []string
		for _, r := range receipts {
			got = append(got, fmt.Sprint(r.Stream, " ", errors.Is(r.Err, oona.ErrBackPressure)))
		}
		want := []string{s.Emergency + " false", s.KernelRequests + " true", s.KernelReady + " false", s.Normal + " false"}
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, oona.ErrBackPressure) {
			t.Errorf("error %v, streams (-want +got):\n%s", err, diff)
		}
		for name, want := range map[string]float64{"oona.conservative_mode": 1, "oona.publish_rerouted": 1, "oona.publish_dropped": 1} {
			if err := metricIs(c, name, want); err != nil {
				t.Error(err)
			}
		}
		// What was diverted is served on the emergency stream.
		consume(t, c, oona.Subscription{Stream: s.Emergency, Others: oona.AcknowledgeOthers}, answering())
		eventually(t, settled(t, rdb, s.Emergency, 1))
		rdb.XTrimMaxLen(t.Context(), s.KernelRequests, 0)
		rdb.XTrimMaxLen(t.Context(), s.KernelReady, 0)
		if err := c.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := metricIs(c, "oona.conservative_mode", 0); err != nil {
			t.Error(err)
		}
	})
}

func TestEmergencyStreamIsLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		send := func(origin string, n int) (passed int) {
			for range n {
				_, err := c.Publish(t.Context(), &pb.EmergencySignal{Origin: origin})
				switch {
				case err == nil:
					passed++
				case !errors.Is(err, oona.ErrRateLimited):
					t.Fatal(err)
				}
			}
			return passed
		}
		if n := send("tezzeret/1", 200); n != 120 {
			t.Errorf("%d passed at once, want 120", n)
		}
		time.Sleep(30 * time.Second)
		if n := send("", 200); n != 60 {
			t.Errorf("%d passed after half a minute, want 60", n)
		}
		time.Sleep(time.Minute)
		if _, err := c.Send(t.Context(), oona.Outgoing{Message: &pb.AdaptationCommand{CommandId: "c", IssuedBy: "tamiyo", IssuedAt: timestamppb.Now()}, Stream: c.Streams().Emergency}); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]float64{
			"oona.emergency_published":                181,
			"oona.emergency_published.src.tamiyo":     1,
			"oona.emergency_published.src.tezzeret_1": 120,
			"oona.emergency_published.src.unknown":    60,
			"oona.emergency_rate_dropped":             220,
			"oona.emergency_rate_dropped.src.unknown": 140,
			"oona.queue_depth_emergency":              0,
			"oona.publish_dropped":                    220,
		} {
			if err := metricIs(c, name, want); err != nil {
				t.Error(err)
			}
		}
		// Others do not suffer.
		publish(t, c, request("req-0"))
	})
}
