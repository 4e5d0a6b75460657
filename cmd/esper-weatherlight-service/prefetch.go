package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// prefetched is the answer to one request.
type prefetched struct {
	BlueprintID  string  `json:"blueprint_id"`
	RequestID    string  `json:"request_id"`
	Status       string  `json:"status"` // ready, error or timeout
	Reason       string  `json:"reason,omitempty"`
	ArtifactRef  string  `json:"artifact_ref,omitempty"`
	Checksum     string  `json:"checksum,omitempty"`
	GuardDigest  string  `json:"guard_digest,omitempty"`
	PrewarmP50MS float32 `json:"prewarm_p50_ms"`
	PrewarmP95MS float32 `json:"prewarm_p95_ms"`
	LatencyMS    float64 `json:"latency_ms"`
}

func (a *app) prefetchCommand() *cobra.Command {
	var timeout time.Duration
	var run string
	cmd := &cobra.Command{
		Use:   "prefetch BLUEPRINT...",
		Short: "Ask over the bus for compiled kernels, wait and print the answers",
		Long: `Asks for each blueprint as a trainer does, waits for the answers and prints them.
Exits 3 when an answer is an error, 1 when one did not come in time.`,
		Args: argsError(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if timeout <= 0 {
				return usageErrorf("--timeout must be more than 0s")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			s, err := a.settings()
			if err != nil {
				return err
			}
			client, err := a.clientOf(ctx, s, "prefetch")
			if err != nil {
				return err
			}
			defer func() { _ = client.Close() }()
			answers, err := prefetch(ctx, client, run, ids)
			if err != nil {
				return err
			}
			if err := a.printPrefetched(answers); err != nil {
				return err
			}
			return whyNoAnswer(cmd.Context(), s, client, answers)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for Redis and for the answers")
	cmd.Flags().StringVar(&run, "run", "", "training run id to ask in the name of")
	return cmd
}

// toolPatience is how long a command that is not the service waits for Redis: a
// person waits for it.
const toolPatience = 5 * time.Second

// client connects with the settings, for a command that is not the service.
func (a *app) client(ctx context.Context, service string) (*oona.Client, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	return a.clientOf(ctx, s, service)
}

// clientOf is client with settings that were read.
func (a *app) clientOf(ctx context.Context, s settings, service string) (*oona.Client, error) {
	s.BootTimeout = min(s.BootTimeout, toolPatience)
	// What is to be said of this bus the service says; who asked for one thing is
	// not told of it at every call.
	level := max(s.LogLevel.Level, slog.LevelError)
	if s.LogLevel.Level == slog.LevelDebug {
		level = slog.LevelDebug
	}
	log := newLogger(a.Err, s.LogFormat, level)
	quietRedis(log)
	keys, err := a.openToolKeys(s, log)
	if err != nil {
		return nil, err
	}
	return connect(ctx, s, keys.Keyring(), newIdentity(), service, log)
}

// prefetch publishes one request per blueprint and collects the answers, in the
// order of the blueprints, until all are there or ctx ends.
func prefetch(ctx context.Context, client *oona.Client, run string, ids []string) ([]prefetched, error) {
	streams := client.Streams()
	// The ends are found before anything is asked, so no answer comes too soon.
	tail, err := client.Tail(ctx, streams.KernelReady, streams.KernelErrors, streams.Emergency)
	if err != nil {
		return nil, err
	}
	c := &collector{answers: make([]prefetched, len(ids)), index: make(map[string]int), asked: time.Now()}
	requests := make([]proto.Message, len(ids))
	for i, id := range ids {
		request := &pb.KernelPrefetchRequest{
			RequestId: uuid.NewString(), BlueprintId: id, TrainingRunId: run, IssuedAt: timestamppb.Now(),
		}
		requests[i] = request
		c.answers[i] = prefetched{BlueprintID: id, RequestID: request.GetRequestId(), Status: "timeout"}
		c.index[request.GetRequestId()] = i
	}
	if _, err := client.Publish(ctx, requests...); err != nil {
		return nil, err
	}
	ctx, c.done = context.WithCancel(ctx)
	defer c.done()
	err = client.Follow(ctx, oona.Following{From: tail, Types: []pb.BusMessageType{
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR,
	}}, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers, err
}

// collector is the handler that waits for answers.
type collector struct {
	mu      sync.Mutex
	asked   time.Time
	answers []prefetched
	index   map[string]int // of those that are missing, by request id
	done    context.CancelFunc
}

// Handle takes the answers that are ours and ends the wait with the last one.
func (c *collector) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range batch {
		switch body := m.Body.(type) {
		case *pb.KernelArtifactReady:
			if p := c.take(body.GetRequestId()); p != nil {
				p.Status, p.ArtifactRef, p.Checksum = "ready", body.GetArtifactRef(), body.GetChecksum()
				p.GuardDigest = body.GetGuardDigest()
				p.PrewarmP50MS, p.PrewarmP95MS = body.GetPrewarmP50Ms(), body.GetPrewarmP95Ms()
			}
		case *pb.KernelArtifactError:
			if p := c.take(body.GetRequestId()); p != nil {
				p.Status, p.Reason = "error", body.GetReason()
			}
		}
	}
	if len(c.index) == 0 {
		c.done()
	}
	return make([]oona.Result, len(batch))
}

func (c *collector) take(request string) *prefetched {
	i, ok := c.index[request]
	if !ok {
		return nil
	}
	delete(c.index, request)
	c.answers[i].LatencyMS = float64(time.Since(c.asked).Microseconds()) / 1000
	return &c.answers[i]
}

func (a *app) printPrefetched(answers []prefetched) error {
	var failed bool
	rows := make([][]string, len(answers))
	for i, p := range answers {
		failed = failed || p.Status == "error"
		detail, took := p.Reason, fmt.Sprintf("%.1f ms", p.LatencyMS)
		switch p.Status {
		case "ready":
			detail = p.ArtifactRef
		case "timeout":
			took = ""
		}
		rows[i] = []string{p.BlueprintID, p.Status, detail, p.Checksum, took}
	}
	var err error
	if a.json {
		err = printJSON(a.Out, answers)
	} else {
		err = printTable(a.Out, []string{"BLUEPRINT", "STATUS", "ARTIFACT OR REASON", "SHA-256", "TOOK"}, rows)
	}
	if err == nil && failed {
		return answeredError()
	}
	return err
}
