package oona_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// logLines is a log as its lines of JSON.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// line returns the first line with a message, without what differs from run to
// run; nil if there is none.
func (l *logLines) line(message string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.buf.Bytes()) {
		var fields map[string]any
		if json.Unmarshal(line, &fields) == nil && fields["msg"] == message {
			for _, key := range []string{"time", "entry_id", "consumer", "in"} {
				delete(fields, key)
			}
			return fields
		}
	}
	return nil
}

// newClientAs returns a client that signs as a source and logs.
func newClientAs(t *testing.T, rdb redis.UniversalClient, source string, log *slog.Logger) *oona.Client {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	c, err := oona.New(t.Context(), rdb, oona.Config{Codec: codec, Consumer: source, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAnswersAndLogsNameTheRequest: who asked, and in which trace, stands in the
// signed attributes of the answer and in every log line about the request.
func TestAnswersAndLogsNameTheRequest(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		trainer := newClientAs(t, rdb, "trainer/host-1", slog.New(slog.DiscardHandler))
		log := new(logLines)
		service := newClientAs(t, rdb, "weatherlight/host-2", slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if _, err := trainer.Send(t.Context(),
			oona.Outgoing{Message: request("good"), Header: leyline.Header{TraceParent: trace}},
			oona.Outgoing{Message: request("plain")},
			oona.Outgoing{Message: request("bad"), Header: leyline.Header{TraceParent: trace}},
		); err != nil {
			t.Fatal(err)
		}
		handler := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			if r.GetRequestId() == "bad" {
				return nil, errors.New("no luck")
			}
			return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
		})
		stop := consume(t, service, oona.Subscription{MaxAttempts: 2, RetryBase: time.Millisecond}, handler)
		eventually(t, settled(t, rdb, service.Streams().KernelRequests, 3))
		eventually(t, func() error {
			if log.line("dead-lettered") == nil {
				return errors.New("no dead letter is logged")
			}
			return nil
		})
		stop()

		entries, err := rdb.XRange(t.Context(), service.Streams().KernelReady, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]map[string]string)
		for _, e := range entries {
			env, err := newCodec(t).Open([]byte(e.Values["payload"].(string)), []byte(e.Values["signature"].(string)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := leyline.Decode(env)
			if err != nil {
				t.Fatal(err)
			}
			attributes := env.Attributes()
			delete(attributes, leyline.AttrIssuedAt)
			delete(attributes, leyline.AttrMessageID)
			got[requestID(body)] = attributes
		}
		want := map[string]map[string]string{
			"good":  {"audience": "oona.kernels.ready", "source": "weatherlight/host-2", "request_source": "trainer/host-1", "traceparent": trace},
			"plain": {"audience": "oona.kernels.ready", "source": "weatherlight/host-2", "request_source": "trainer/host-1"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attributes of the answers (-want +got):\n%s", diff)
		}
		about := map[string]any{
			"stream": "oona.kernels.requests", "group": "weatherlight", "request_id": "bad", "blueprint_id": "BP001",
			"source": "trainer/host-1", "traceparent": trace, "error": "no luck",
		}
		for message, more := range map[string]map[string]any{
			"handler failed, will retry": {"level": "INFO", "attempt": 1.0},
			"dead-lettered":              {"level": "WARN", "attempts": 2.0, "reason": "attempts_exhausted"},
		} {
			want := map[string]any{"msg": message}
			for _, fields := range []map[string]any{about, more} {
				maps.Copy(want, fields)
			}
			if diff := cmp.Diff(want, log.line(message)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		}
		if line := log.line("handled"); line["source"] != "trainer/host-1" || line["answers"] != 1.0 {
			t.Errorf("at debug level the log says %v", line)
		}
	})
}

// TestRefusalsAreLogged: with stream and reason; of what nobody signed, nothing
// else is repeated.
func TestRefusalsAreLogged(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		log := new(logLines)
		c := newClientAs(t, rdb, "weatherlight/host-2", slog.New(slog.NewJSONHandler(log, nil)))
		stream := c.Streams().KernelRequests
		add(t, rdb, stream, map[string]any{"payload": "forged \x1b[2J", "signature": "x"})
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 1))
		eventually(t, func() error {
			if log.line("refused") == nil {
				return fmt.Errorf("nothing is logged")
			}
			return nil
		})
		stop()
		want := map[string]any{"level": "WARN", "msg": "refused", "stream": stream, "group": "weatherlight", "reason": "bad_signature"}
		if diff := cmp.Diff(want, log.line("refused")); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}
