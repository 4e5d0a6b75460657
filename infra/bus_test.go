package infra_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// trainerBus is a trainer on the bus.
type trainerBus struct {
	*oona.Client
	t *testing.T
}

func connectBus(t *testing.T, url, name string) trainerBus {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: name + "/here-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := oona.Connect(ctx, oona.Config{URL: url, Codec: codec, Consumer: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return trainerBus{client, t}
}

func requestID(i int) string { return "request-" + strconv.Itoa(i) }

// request asks for BP001, once for each number.
func (b trainerBus) request(from, to int) {
	b.t.Helper()
	var requests []proto.Message
	for i := from; i < to; i++ {
		requests = append(requests, &pb.KernelPrefetchRequest{RequestId: requestID(i), BlueprintId: "BP001", IssuedAt: timestamppb.Now()})
	}
	// Redis may have been away since the last call, and a connection with it.
	eventually(b.t, time.Minute, func() error { return b.Ping(b.t.Context()) })
	if _, err := b.Publish(b.t.Context(), requests...); err != nil {
		b.t.Fatal(err)
	}
}

// answerLog collects every answer by request id.
type answerLog struct {
	mu      sync.Mutex
	answers map[string][]proto.Message
}

// watchAnswers follows all answers, from the start of the streams to the end of
// the test.
func watchAnswers(t *testing.T, bus trainerBus) *answerLog {
	t.Helper()
	l := &answerLog{answers: make(map[string][]proto.Message)}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		from := oona.Cursor{bus.Streams().KernelReady: {}, bus.Streams().KernelErrors: {}}
		if err := bus.Follow(ctx, oona.Following{From: from}, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); following.Wait() })
	return l
}

func (l *answerLog) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range batch {
		if answer, ok := m.Body.(interface{ GetRequestId() string }); ok {
			l.answers[answer.GetRequestId()] = append(l.answers[answer.GetRequestId()], m.Body)
		}
	}
	return make([]oona.Result, len(batch))
}

// of returns the answers to a request.
func (l *answerLog) of(request string) []proto.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers[request]
}

// oneEach waits until requests 0 to n-1 are answered, each ready, each once.
func (l *answerLog) oneEach(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		eventually(t, time.Minute, func() error {
			if len(l.of(requestID(i))) == 0 {
				return fmt.Errorf("%s has no answer", requestID(i))
			}
			return nil
		})
	}
	for i := range n {
		answers := l.of(requestID(i))
		if _, ready := answers[0].(*pb.KernelArtifactReady); !ready || len(answers) != 1 {
			t.Errorf("%s has the answers %v", requestID(i), answers)
		}
	}
}
