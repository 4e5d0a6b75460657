package oona

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed trim.lua
var trimSource string

var trimScript = redis.NewScript(trimSource)

// Defaults of [Housekeeping].
const (
	DefaultHousekeepingInterval = time.Minute
	DefaultConsumerIdle         = time.Hour
	// DefaultNewestPolicies is how many entries of the policy stream stay,
	// however old: a replica that starts looks for its policy there.
	DefaultNewestPolicies = 64
)

// Retention says what of a stream is kept. Trimming never deletes work that is
// not done.
type Retention struct {
	Stream string
	// Age is for how long entries are kept at least. Zero means
	// Config.MessageTTL.
	Age time.Duration
	// Newest keeps that many of the newest entries, and no others, whatever
	// their age. Zero means that age decides.
	Newest int64
	// Unfinished keeps entries that any group of the stream has not finished,
	// whatever their age: undelivered or pending.
	Unfinished bool
	// Group is a group that must have finished them, so that nothing is
	// deleted before it exists. Its consumers that are gone are removed. Empty
	// means none.
	Group string
}

// Housekeeping configures a [Housekeeper]. The zero value of each field has the
// default that stands beside it.
type Housekeeping struct {
	// Group is whose work the kernel requests and the emergency stream hold.
	// Required unless Retentions are given.
	Group string
	// Interval is how often streams are looked after. Default
	// [DefaultHousekeepingInterval].
	Interval time.Duration
	// ConsumerIdle is for how long a consumer without pending entries must have
	// been silent before it is removed. Default [DefaultConsumerIdle].
	ConsumerIdle time.Duration
	// Retentions say what is kept. Default: [Client.Retentions].
	Retentions []Retention
}

// Retentions returns what is kept of each of the client's streams by default.
// Requests and emergencies stay until every group, and this one at least, has
// finished them; normal messages until every group has that there is; answers and
// telemetry by age; of policies the newest. Dead letters are never trimmed.
func (c *Client) Retentions(group string) []Retention {
	s := &c.cfg.Streams
	return []Retention{
		{Stream: s.KernelRequests, Unfinished: true, Group: group},
		{Stream: s.Emergency, Unfinished: true, Group: group},
		{Stream: s.Normal, Unfinished: true},
		{Stream: s.KernelReady},
		{Stream: s.KernelErrors},
		{Stream: s.Telemetry},
		{Stream: s.Policy, Newest: DefaultNewestPolicies},
	}
}

// Housekeeper trims streams, removes consumers that are gone, and reports what
// was lost and what cannot be trimmed. Any number of replicas may run one.
type Housekeeper struct {
	client *Client
	cfg    Housekeeping

	unread  map[subscribed]int64 // deleted before the group read them, as last seen
	blocked map[string]string    // stream → the deserted group that blocks it
}

// Housekeeper returns one, or an error that says what cfg lacks.
func (c *Client) Housekeeper(cfg Housekeeping) (*Housekeeper, error) {
	cfg.Interval = cmp.Or(cfg.Interval, DefaultHousekeepingInterval)
	cfg.ConsumerIdle = cmp.Or(cfg.ConsumerIdle, DefaultConsumerIdle)
	cfg.Retentions = slices.Clone(cfg.Retentions)
	switch {
	case cfg.Interval < 0 || cfg.ConsumerIdle < 0:
		return nil, errors.New("oona: a duration of Housekeeping is negative")
	case cfg.Retentions == nil && cfg.Group == "":
		return nil, errors.New("oona: Housekeeping.Group is missing")
	case cfg.Retentions == nil:
		cfg.Retentions = c.Retentions(cfg.Group)
	}
	for i := range cfg.Retentions {
		r := &cfg.Retentions[i]
		if r.Stream == "" || r.Age < 0 || r.Newest < 0 {
			return nil, fmt.Errorf("oona: retention of %q is not valid", r.Stream)
		}
		if r.Stream == c.cfg.Streams.DeadLetter {
			return nil, errors.New("oona: dead letters are not trimmed")
		}
		r.Age = cmp.Or(r.Age, c.cfg.MessageTTL)
	}
	return &Housekeeper{client: c, cfg: cfg, unread: make(map[subscribed]int64), blocked: make(map[string]string)}, nil
}

// Run sweeps every interval until ctx ends, and then returns nil. While Redis is
// away it goes on trying.
func (h *Housekeeper) Run(ctx context.Context) error {
	tick := time.NewTicker(h.cfg.Interval)
	defer tick.Stop()
	failed := false
	for {
		err := h.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failed:
			h.client.log.WarnContext(ctx, "housekeeping failed, will try again", "error", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep looks after every stream once, and samples how much waits. It goes on
// after a stream that fails. Not for concurrent use, also with Run.
func (h *Housekeeper) Sweep(ctx context.Context) error {
	var errs []error
	for i := range h.cfg.Retentions {
		if err := h.sweep(ctx, &h.cfg.Retentions[i]); err != nil {
			errs = append(errs, fmt.Errorf("oona: trim %s: %w", h.cfg.Retentions[i].Stream, err))
		}
	}
	h.client.stats.blockedStreams.Store(int64(len(h.blocked)))
	return errors.Join(append(errs, h.client.Sample(ctx))...)
}

func (h *Housekeeper) sweep(ctx context.Context, r *Retention) error {
	unfinished := ""
	if r.Unfinished {
		unfinished = "finished"
	}
	reply, err := trimScript.Run(ctx, h.client.rdb, []string{r.Stream},
		r.Age.Milliseconds(), r.Newest, unfinished, r.Group, h.cfg.ConsumerIdle.Milliseconds()).Slice()
	if err != nil {
		return err
	}
	s, err := parseSwept(reply)
	if err != nil {
		return err
	}
	h.client.stats.trimmedTotal.Add(s.deleted)
	h.client.stats.consumersRemoved.Add(int64(len(s.removed)))
	log := h.client.log.With("stream", r.Stream)
	if len(s.removed) > 0 {
		log.InfoContext(ctx, "removed consumers that are gone", "group", r.Group, "consumers", s.removed)
	}
	h.reportUnread(ctx, log, r.Stream, s.unread)
	if s.deserted == r.Group { // ours, which is about to be read again
		s.deserted = ""
	}
	h.reportBlocked(ctx, log, r.Stream, s.deserted)
	return nil
}

// swept is what the trim script returns.
type swept struct {
	deleted  int64
	deserted string // the group that keeps entries and that nobody reads; "" if none
	removed  []string
	unread   map[string]int64 // by group, entries deleted before it read them
}

func parseSwept(reply []any) (s swept, err error) {
	if len(reply) != 5 {
		return s, fmt.Errorf("%d values in the reply", len(reply))
	}
	s.deleted, _ = reply[0].(int64)
	if deserted, _ := reply[2].(int64); deserted == 1 {
		s.deserted, _ = reply[1].(string)
	}
	s.removed = textsOf(reply[3])
	unread, _ := reply[4].([]any)
	s.unread = make(map[string]int64, len(unread)/2)
	for i := 0; i+1 < len(unread); i += 2 {
		group, _ := unread[i].(string)
		s.unread[group], _ = unread[i+1].(int64)
	}
	return s, nil
}

// reportUnread counts what others deleted before a group read it.
func (h *Housekeeper) reportUnread(ctx context.Context, log *slog.Logger, stream string, unread map[string]int64) {
	for group, n := range unread {
		key := subscribed{stream, group}
		if more := n - h.unread[key]; more > 0 {
			h.client.stats.dataLossTotal.Add(more)
			log.ErrorContext(ctx, "entries were deleted from the stream before the group read them", "group", group, "entries", more)
		}
		h.unread[key] = n
	}
}

// reportBlocked says once that a group which nobody reads keeps a stream from
// being trimmed.
func (h *Housekeeper) reportBlocked(ctx context.Context, log *slog.Logger, stream, group string) {
	if group == h.blocked[stream] {
		return
	}
	if group == "" {
		delete(h.blocked, stream)
		log.InfoContext(ctx, "the stream can be trimmed again")
		return
	}
	h.blocked[stream] = group
	log.WarnContext(ctx, "the stream cannot be trimmed, because nobody reads in this group any more: destroy the group if it is not needed", "group", group)
}
