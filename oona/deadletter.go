package oona

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

//go:embed revive.lua
var reviveSource string

var reviveScript = redis.NewScript(reviveSource)

// Fields of a dead letter beside the untouched payload and signature (contract
// section 9). The commit script adds deliveries.
const (
	deadReason      = "reason"
	deadError       = "error"
	deadAttempts    = "attempts"
	deadDeliveries  = "deliveries"
	deadStream      = "stream"
	deadGroup       = "group"
	deadEntryID     = "entry_id"
	deadFirstFailed = "first_failed_at_ms"
	deadLastFailed  = "last_failed_at_ms"
	deadConsumer    = "consumer"
)

// Errors of [DeadLetters].
var (
	// ErrNoLetter: there is no dead letter with that id.
	ErrNoLetter = errors.New("oona: no such dead letter")
	// ErrNotReplayable: the message cannot be sealed anew, or would be refused
	// again. A command carries a signature of whoever issued it, so it is issued
	// again, not replayed.
	ErrNotReplayable = errors.New("oona: dead letter cannot be replayed")
)

// Letter is a dead letter: a message that was given up, as it was, and what is
// known of it. Letters that others wrote may have no more than the message.
type Letter struct {
	ID EntryID // of the letter

	Stream      string // where the message was read, in which group
	Group       string
	EntryID     EntryID // what its id was there
	Reason      leyline.Reason
	Error       string // text of the last failure
	Attempts    int
	Deliveries  int
	FirstFailed time.Time
	LastFailed  time.Time
	Consumer    string // who gave it up

	// Payload and Signature are the entry's own, as they were.
	Payload   []byte
	Signature []byte
	// Body is the message inside, nil where it does not verify or decode.
	Body proto.Message

	envelope leyline.Envelope
}

// Type returns the type of the message, unspecified where it does not verify.
func (l *Letter) Type() pb.BusMessageType { return l.envelope.Type }

// DeadLetters are the messages that were given up. They are never trimmed:
// whoever looks after the service replays or drops them. It is safe for
// concurrent use.
type DeadLetters struct{ client *Client }

// DeadLetters returns the messages that were given up.
func (c *Client) DeadLetters() *DeadLetters { return &DeadLetters{c} }

// defaultPage is how many letters List returns unless told.
const defaultPage = 100

// List returns up to n letters behind the given id, oldest first; the zero id is
// before all, and n of zero means 100.
func (d *DeadLetters) List(ctx context.Context, after EntryID, n int) ([]Letter, error) {
	entries, err := d.client.rdb.XRangeN(ctx, d.stream(), after.next().String(), "+", int64(cmp.Or(max(n, 0), defaultPage))).Result()
	if err != nil {
		return nil, fmt.Errorf("oona: dead letters: %w", err)
	}
	letters := make([]Letter, len(entries))
	for i, e := range entries {
		letters[i] = d.client.letter(e)
	}
	return letters, nil
}

// Get returns one letter, or [ErrNoLetter].
func (d *DeadLetters) Get(ctx context.Context, id EntryID) (Letter, error) {
	entries, err := d.client.rdb.XRangeN(ctx, d.stream(), id.String(), id.String(), 1).Result()
	if err != nil {
		return Letter{}, fmt.Errorf("oona: dead letter %v: %w", id, err)
	}
	if len(entries) == 0 {
		return Letter{}, fmt.Errorf("%w: %v", ErrNoLetter, id)
	}
	return d.client.letter(entries[0]), nil
}

// Len returns how many letters there are.
func (d *DeadLetters) Len(ctx context.Context) (int64, error) {
	n, err := d.client.rdb.XLen(ctx, d.stream()).Result()
	if err != nil {
		return 0, fmt.Errorf("oona: dead letters: %w", err)
	}
	return n, nil
}

// Drop forgets letters and returns how many of them there were.
func (d *DeadLetters) Drop(ctx context.Context, ids ...EntryID) (int64, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	n, err := d.client.rdb.XDel(ctx, d.stream(), texts...).Result()
	if err != nil {
		return 0, fmt.Errorf("oona: drop dead letters: %w", err)
	}
	return n, nil
}

// Replay puts a letter's message back where it was read, in one step that also
// removes the letter. The message is sealed anew, issued now, with the key that
// signs today; its ids stay what they were, and with them its nonce, which moves
// to the new entry. So it is answered once, whenever it is replayed.
//
// A message of a type that did not belong where it was read
// ([leyline.UnexpectedType]) goes to the stream of its type instead: where it was,
// it would be refused again. If that is where it was refused,
// [DeadLetters.ReplayTo] puts it elsewhere.
//
// It fails with [ErrNoLetter], with [leyline.Replayed] when another message with
// its id was settled meanwhile, with [ErrNotReplayable], and with the
// [leyline.Reason] of a message that does not verify or decode. The letter then
// stays.
func (d *DeadLetters) Replay(ctx context.Context, id EntryID) (Receipt, error) {
	return d.replay(ctx, id, "")
}

// ReplayTo is [DeadLetters.Replay] to a stream of the caller's choice, for which
// the message is sealed: its readers take it as any other, in mode strict too.
// Those that do not want its type refuse it.
func (d *DeadLetters) ReplayTo(ctx context.Context, id EntryID, stream string) (Receipt, error) {
	if stream == "" {
		return Receipt{}, fmt.Errorf("%w: an empty name", ErrStreams)
	}
	if err := d.client.ofOneSlot(stream); err != nil {
		return Receipt{}, err
	}
	return d.replay(ctx, id, stream)
}

// replay replays to a stream, or to the one that suits the letter if it is empty.
func (d *DeadLetters) replay(ctx context.Context, id EntryID, stream string) (Receipt, error) {
	l, err := d.Get(ctx, id)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := d.client.revive(ctx, &l, stream)
	if err != nil {
		return receipt, fmt.Errorf("oona: replay dead letter %v: %w", id, err)
	}
	return receipt, nil
}

func (d *DeadLetters) stream() string { return d.client.cfg.Streams.DeadLetter }

// letter reads an entry of the dead letters.
func (c *Client) letter(e redis.XMessage) Letter {
	text := func(name string) string {
		s, _ := e.Values[name].(string)
		return s
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(text(name), 10, 64) // 0 where it is absent
		return n
	}
	when := func(name string) (t time.Time) {
		if ms := number(name); ms > 0 {
			t = time.UnixMilli(ms)
		}
		return t
	}
	l := Letter{
		Stream: text(deadStream), Group: text(deadGroup), Consumer: text(deadConsumer),
		Reason: leyline.Reason(text(deadReason)), Error: text(deadError),
		Attempts: int(number(deadAttempts)), Deliveries: int(number(deadDeliveries)),
		FirstFailed: when(deadFirstFailed), LastFailed: when(deadLastFailed),
		Payload: []byte(text(fieldPayload)), Signature: []byte(text(fieldSignature)),
	}
	l.ID, _ = ParseEntryID(e.ID) // the server's own
	l.EntryID, _ = ParseEntryID(text(deadEntryID))
	if env, err := c.cfg.Codec.Open(l.Payload, l.Signature); err == nil {
		l.envelope = env
		l.Body, _ = leyline.Decode(env) // nil where it does not decode
	}
	return l
}

// revive seals a letter's message anew and moves it and its nonce, to the given
// stream if that is not empty.
func (c *Client) revive(ctx context.Context, l *Letter, stream string) (Receipt, error) {
	env, err := c.cfg.Codec.Open(l.Payload, l.Signature)
	if err != nil {
		return Receipt{}, err
	}
	body, err := leyline.Decode(env)
	if err != nil {
		return Receipt{}, err
	}
	identity, err := leyline.IdentityOf(env, body)
	if err != nil {
		return Receipt{}, err
	}
	if stream == "" {
		if stream, err = c.home(l, body); err != nil {
			return Receipt{}, err
		}
	}
	if stream == c.cfg.Streams.DeadLetter {
		return Receipt{}, fmt.Errorf("%w: it came from the dead letters", ErrNotReplayable)
	}
	now := c.Now()
	switch m := body.(type) {
	case *pb.KernelPrefetchRequest:
		m.IssuedAt = timestamppb.New(now)
	case *pb.AdaptationCommand:
		return Receipt{}, fmt.Errorf("%w: a command is issued again", ErrNotReplayable)
	}
	sealer := c.sealer(1)
	sealed, err := sealer.seal(stream, &Outgoing{Message: body, Header: leyline.Header{
		IssuedAt: now, MessageID: env.MessageID(), TraceParent: env.TraceParent(), RequestSource: env.RequestSource(), Extra: env.Attributes(),
	}})
	if err != nil {
		return Receipt{}, err
	}
	return c.move(ctx, l, identity, sealed, now)
}

// home returns the stream where a letter's message belongs.
func (c *Client) home(l *Letter, body proto.Message) (string, error) {
	if l.Stream != "" && l.Reason != leyline.UnexpectedType {
		return l.Stream, nil
	}
	stream, err := c.route(body)
	if err == nil && stream == l.Stream {
		err = fmt.Errorf("%w to %s, the stream of its type %v: its reader refused that type; say where it is to go", ErrNotReplayable, stream, l.Type())
	}
	return stream, err
}

func (c *Client) move(ctx context.Context, l *Letter, identity leyline.Identity, s sealedMessage, now time.Time) (Receipt, error) {
	k := c.keys
	keys := []string{c.cfg.Streams.DeadLetter, s.stream, k.nonces(l.Group, k.bucket(now.UnixMilli()))}
	was := delivery{Message: Message{Stream: cmp.Or(l.Stream, s.stream), Envelope: l.envelope, identity: identity, Arrival: l.EntryID.Time()}}
	is := delivery{Message: Message{Stream: s.stream, Envelope: l.envelope, identity: identity}}
	if l.Group != "" {
		was.identify(&c.cfg.Streams)
		is.identify(&c.cfg.Streams)
		own := k.bucket(was.issuedAtMs())
		for b := own - k.neighbours; b <= own+k.neighbours; b++ {
			keys = append(keys, k.nonces(l.Group, b))
		}
	}
	// Their text is empty, so their holders are what follows an entry's id.
	text, err := reviveScript.Run(ctx, c.rdb, keys, l.ID.String(), was.nonce, l.EntryID.String()+was.holder, is.holder, s.payload, s.signature).Text()
	switch {
	case err == nil:
	case strings.HasPrefix(err.Error(), "NOLETTER"):
		return Receipt{}, ErrNoLetter
	case strings.HasPrefix(err.Error(), "REPLAYED"):
		return Receipt{}, leyline.Replayed
	default:
		return Receipt{}, err
	}
	id, err := ParseEntryID(text)
	return Receipt{Stream: s.stream, ID: id}, err
}
