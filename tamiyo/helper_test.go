package tamiyo_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/tamiyo"
)

// epoch is when the first update of a test is issued.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// published is an update on the stream of a test.
type published struct {
	update  *pb.PolicyUpdate
	arrived time.Time // zero: when it was issued
}

// update returns the n-th update, issued n seconds after epoch.
func update(n int, version string) published {
	return published{update: &pb.PolicyUpdate{
		Version: 1, PolicyId: "policy-" + strconv.Itoa(n), IssuedAt: timestamppb.New(epoch.Add(time.Duration(n) * time.Second)),
		TamiyoPolicyVersion: version, Payload: []byte("weights of " + strconv.Itoa(n)),
	}}
}

// stream is a bus with one policy stream that holds updates; the id of each is
// its place, from 1. Follow returns when all were settled.
type stream struct {
	codec   *leyline.Codec
	updates []published
	retries int // how often a message may be tried again
	trimmed int // so many of the oldest are gone
}

func newStream(updates ...published) *stream {
	keys, err := leyline.NewKeyring(leyline.NewSecret("golden-secret"))
	if err != nil {
		panic(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		panic(err)
	}
	return &stream{codec: codec, updates: updates}
}

func (s *stream) Streams() oona.Streams {
	return oona.Streams{Policy: "oona.policy", Emergency: "oona.emergency"}
}

var errGivenUp = errors.New("the handler failed too often")

// Follow delivers what is behind the cursor, in order, as oona does.
func (s *stream) Follow(ctx context.Context, f oona.Following, h oona.Handler) error {
	for i, p := range s.updates {
		id := oona.EntryID{Ms: uint64(i + 1)}
		if i < s.trimmed || id.Compare(f.From["oona.policy"].ID) <= 0 {
			continue
		}
		m, err := s.message(id, p)
		if err != nil {
			return err
		}
		if err := s.deliver(ctx, m, h); err != nil {
			return err
		}
		if f.Advance != nil {
			f.Advance("oona.policy", oona.Position{ID: id, Index: int64(i + 1)})
		}
	}
	return nil
}

func (s *stream) deliver(ctx context.Context, m *oona.Message, h oona.Handler) error {
	for tries := 0; ; tries++ {
		results := h.Handle(ctx, []*oona.Message{m})
		if results[0].Err == nil {
			return nil
		}
		if tries == s.retries {
			return errors.Join(errGivenUp, results[0].Err)
		}
	}
}

func (s *stream) message(id oona.EntryID, p published) (*oona.Message, error) {
	raw, signature, err := s.codec.Seal(nil, p.update, leyline.Header{IssuedAt: epoch, MessageID: "fixed"})
	if err != nil {
		return nil, err
	}
	env, err := s.codec.Open(raw, signature[:])
	if err != nil {
		return nil, err
	}
	arrived := p.arrived
	if arrived.IsZero() {
		arrived = p.update.GetIssuedAt().AsTime()
	}
	body, err := leyline.Decode(env)
	return &oona.Message{Stream: "oona.policy", ID: id, Arrival: arrived, Envelope: env, Body: body}, err
}

// model is a policy that remembers what was applied.
type model struct {
	applied  []string
	validate func(tamiyo.Update) error
	apply    func(tamiyo.Update) error
}

func (m *model) Validate(_ context.Context, u tamiyo.Update) error {
	if m.validate == nil {
		return nil
	}
	return m.validate(u)
}

func (m *model) Apply(_ context.Context, u tamiyo.Update) error {
	if m.apply != nil {
		if err := m.apply(u); err != nil {
			return err
		}
	}
	m.applied = append(m.applied, u.PolicyID)
	return nil
}

// events collects what was reported.
type events []string

func (e *events) add(p *pb.TelemetryPacket, _ pb.MessagePriority) {
	for _, event := range p.GetEvents() {
		name := event.GetDescription()
		if reason := event.GetAttributes()["reason"]; reason != "" {
			name += " " + reason
		}
		*e = append(*e, name)
	}
}

func open(t *testing.T, cfg tamiyo.Config) *tamiyo.Consumer {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := tamiyo.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func follow(t *testing.T, c *tamiyo.Consumer) {
	t.Helper()
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func currentID(c *tamiyo.Consumer) string {
	u, _ := c.Current()
	return u.PolicyID
}
