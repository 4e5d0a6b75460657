package weatherlight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Defaults of a [ReporterConfig].
const (
	defaultInterval       = 10 * time.Second
	defaultRecentError    = time.Minute
	defaultEmergencyHold  = 5 * time.Minute
	defaultPublishTimeout = 5 * time.Second
	defaultFlushTimeout   = 2 * time.Second
	defaultSpoolSize      = 360
	defaultForwardSize    = 1024
	defaultMaxWorkers     = 500
)

// urgentGap is the least time between two packets that are not due.
const urgentGap = 200 * time.Millisecond

// ErrRejected is what a [Publisher]'s error wraps when the packet can never be
// published, for example because it is too large. Such a packet is dropped; any
// other error is tried again.
var ErrRejected = errors.New("weatherlight: telemetry packet rejected")

// Publisher sends telemetry packets to where they are read. Publish must not
// change the packet nor keep it.
type Publisher interface {
	Publish(ctx context.Context, packet *leylinepb.TelemetryPacket, priority leylinepb.MessagePriority) error
}

// Source reports figures of a part of the process: every package of Esper has
// one. AppendMetrics must be quick and safe for concurrent use.
type Source interface {
	AppendMetrics(dst []leyline.Metric) []leyline.Metric
}

// Objective is a service level that is reported next to what was reached.
type Objective struct {
	// Name becomes slo.<Name>_objective and slo.<Name>_actual.
	Name string
	// Metric is the name of the figure of a source that is the actual value.
	// While there is none, the pair is left out.
	Metric string
	// Value is the objective, in the unit of the metric.
	Value float64
}

// ReporterConfig configures a [Reporter].
type ReporterConfig struct {
	// Supervisor is whose health is reported. Required.
	Supervisor *Supervisor
	// Publisher is where packets go. Required.
	Publisher Publisher
	// Instance names this process among its replicas, as <host>-<boot id>.
	// Required.
	Instance string
	// Sources report their figures in every packet.
	Sources []Source
	// Objectives are compared with figures of the sources.
	Objectives []Objective
	// Interval is the time between packets. Zero means 10s.
	Interval time.Duration
	// RecentError is for how long after a failure the health is degraded.
	// Zero means 1m.
	RecentError time.Duration
	// EmergencyHold is for how long after an emergency signal the health shows
	// it. Zero means 5m.
	EmergencyHold time.Duration
	// Degraded, where not nil, says in a word why the process is degraded though
	// its workers are well, and nothing if it is not: the word is the summary of
	// its health. It must be quick and safe for concurrent use.
	Degraded func() string
	// PublishTimeout bounds one try to publish. Zero means 5s.
	PublishTimeout time.Duration
	// FlushTimeout bounds the tries after Run's context has ended. Zero means
	// 2s; under a supervisor it is at most nine tenths of the time that the
	// supervisor grants.
	FlushTimeout time.Duration
	// SpoolSize is how many packets of our own wait to be published: the
	// oldest is dropped for one too many. Zero means 360, an hour's at the
	// default Interval.
	SpoolSize int
	// ForwardSize is how many packets of other subsystems wait to be
	// published: the oldest is dropped for one too many. Zero means 1024.
	ForwardSize int
	// MaxWorkers is how many workers are reported one by one, those that are
	// not running first. Zero means 500.
	MaxWorkers int
	// Logger hears of trouble with publishing. Nil discards.
	Logger *slog.Logger
}

func (c ReporterConfig) withDefaults() ReporterConfig {
	c.Sources = slices.Clone(c.Sources)
	c.Objectives = slices.Clone(c.Objectives)
	c.Interval = cmp.Or(c.Interval, defaultInterval)
	c.RecentError = cmp.Or(c.RecentError, defaultRecentError)
	c.EmergencyHold = cmp.Or(c.EmergencyHold, defaultEmergencyHold)
	c.PublishTimeout = cmp.Or(c.PublishTimeout, defaultPublishTimeout)
	c.FlushTimeout = cmp.Or(c.FlushTimeout, defaultFlushTimeout)
	c.SpoolSize = cmp.Or(c.SpoolSize, defaultSpoolSize)
	c.ForwardSize = cmp.Or(c.ForwardSize, defaultForwardSize)
	c.MaxWorkers = cmp.Or(c.MaxWorkers, defaultMaxWorkers)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c ReporterConfig) validate() error {
	switch {
	case c.Supervisor == nil:
		return errors.New("weatherlight: ReporterConfig.Supervisor is nil")
	case c.Publisher == nil:
		return errors.New("weatherlight: ReporterConfig.Publisher is nil")
	case c.Instance == "":
		return errors.New("weatherlight: ReporterConfig.Instance is empty")
	case slices.Contains(c.Sources, nil):
		return errors.New("weatherlight: ReporterConfig.Sources contains nil")
	case min(c.Interval, c.RecentError, c.EmergencyHold, c.PublishTimeout, c.FlushTimeout) < 0:
		return errors.New("weatherlight: ReporterConfig: a duration is negative")
	case min(c.SpoolSize, c.ForwardSize, c.MaxWorkers) < 0:
		return errors.New("weatherlight: ReporterConfig: a size is negative")
	}
	return nil
}

// A Reporter tells the world how a [Supervisor] and its workers are: by a
// telemetry packet every [ReporterConfig.Interval], and one at once, but at most
// one per 200 ms, when all workers are up for the first time, the health status
// changes or an emergency signal comes in. Packets that cannot be published wait,
// and are published in order as soon as that works again; see [Reporter.Retry].
// Make one with [NewReporter]; all methods may be called
// from any goroutine. A Reporter is a [Worker]: add it to the supervisor, with
// the workers of which it is to report the end [Spec.After] it.
type Reporter struct {
	cfg       ReporterConfig
	emergency emergency
	urgent    chan struct{} // a token: look now
	retry     atomic.Bool   // publishing works again
	own       *outbox
	forwarded *outbox
	// supervised is whether Run is a worker of cfg.Supervisor or below it.
	supervised atomic.Bool

	// Only the goroutine of Run uses what follows.
	booted     bool      // all workers have been up at once
	due        time.Time // the next regular packet
	calm       time.Time // until when there is no packet that is not due
	made       time.Time // the newest packet
	lastStatus leylinepb.HealthStatus
	lastError  *leylinepb.TelemetryEvent
	lastFailed *Failure // which lastError is about
	metrics    []leyline.Metric
	workers    []WorkerStatus
}

// NewReporter returns a reporter, or an error that says what is wrong with cfg.
func NewReporter(cfg ReporterConfig) (*Reporter, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Reporter{
		cfg:       cfg,
		emergency: emergency{hold: cfg.EmergencyHold},
		urgent:    make(chan struct{}, 1),
		own:       newOutbox(cfg.SpoolSize),
		forwarded: newOutbox(cfg.ForwardSize),
	}, nil
}

// Forward hands over a packet of another subsystem, to be published with the
// given priority, or that of [Priority] if it is unspecified or the packet says
// otherwise. It never blocks; see [ReporterConfig.ForwardSize]. The packet
// belongs to the reporter from then on: figures that are not finite are taken
// out, and a timestamp that is absent or invalid is set to now, because readers
// fail on them.
func (r *Reporter) Forward(packet *leylinepb.TelemetryPacket, priority leylinepb.MessagePriority) {
	mend(packet, time.Now())
	if said := Priority(packet); priority == leylinepb.MessagePriority_MESSAGE_PRIORITY_UNSPECIFIED ||
		saidPriority(packet) != leylinepb.MessagePriority_MESSAGE_PRIORITY_UNSPECIFIED {
		priority = said
	}
	r.forwarded.push(letter{packet, priority})
}

// Emergency reports an emergency signal that came in at the given time. It never
// blocks.
func (r *Reporter) Emergency(signal *leylinepb.EmergencySignal, receivedAt time.Time) {
	r.emergency.receive(signal, receivedAt)
	give(r.urgent)
}

// Retry says that publishing works again, as far as the caller can tell: what
// waits is tried now instead of when the delay between tries is over, which grows
// to 10 s, and readers hear at once how the process is now: a packet is made, and
// the regular ones follow from then on, unless there was one within a quarter of
// the Interval. Calling it often costs no more than a try every 200 ms. It never
// blocks.
func (r *Reporter) Retry() {
	give(r.own.again)
	give(r.forwarded.again)
	r.retry.Store(true)
	give(r.urgent)
}

// give puts a token into a channel that has none.
func give(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// AppendMetrics appends the figures that are not those of a source: of the
// supervisor, its workers, emergencies and the reporter itself.
func (r *Reporter) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	dst, _ = r.appendOwn(dst, nil, r.cfg.Supervisor.Snapshot(), time.Now())
	return dst
}

// Run reports until ctx ends, then once more, and returns when all has been
// published or [ReporterConfig.FlushTimeout] is over; an error says that packets
// are left. They are kept for another Run.
func (r *Reporter) Run(ctx context.Context) error {
	wake, unsubscribe := r.cfg.Supervisor.events.subscribeWake()
	defer unsubscribe()

	publishing, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	closing := make(chan struct{})
	var senders sync.WaitGroup
	for _, box := range []*outbox{r.own, r.forwarded} {
		senders.Go(func() {
			s := sender{
				box: box, publisher: r.cfg.Publisher, timeout: r.cfg.PublishTimeout,
				closing: closing, log: r.cfg.Logger,
			}
			s.run(publishing)
		})
	}
	r.reportUntil(ctx, wake)
	r.farewell()

	giveUp := time.AfterFunc(r.flushTime(ctx), abort)
	defer giveUp.Stop()
	close(closing)
	senders.Wait()
	if left := r.own.len() + r.forwarded.len(); left > 0 {
		return fmt.Errorf("weatherlight: %d telemetry packets were not published", left)
	}
	return nil
}

// flushTime is how long Run may take now that ctx has ended.
func (r *Reporter) flushTime(ctx context.Context) time.Duration {
	if cause, ok := errors.AsType[*Cause](context.Cause(ctx)); ok && !cause.Deadline.IsZero() {
		return min(r.cfg.FlushTimeout, time.Until(cause.Deadline)*9/10)
	}
	return r.cfg.FlushTimeout
}

// reportUntil makes packets until ctx ends.
func (r *Reporter) reportUntil(ctx context.Context, wake <-chan struct{}) {
	r.supervised.Store(r.cfg.Supervisor.supervises(ctx))
	r.due = time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(time.Until(r.look(time.Now())))
		select {
		case <-ctx.Done():
		case <-wake:
		case <-r.urgent:
		case <-timer.C:
		}
	}
}

// look makes a packet if there is a reason to, and returns when to look again if
// nothing happens before.
func (r *Reporter) look(now time.Time) time.Time {
	snap := r.cfg.Supervisor.Snapshot()
	h := r.judge(snap, now)
	due := !now.Before(r.due) || r.retry.Swap(false) && now.Sub(r.made) >= r.cfg.Interval/4
	calm := !now.Before(r.calm)
	alarm := calm && r.emergency.waits()
	boots := !r.booted && snap.Waiting+snap.Starting == 0
	if !r.booted && !boots && h.summary == summarySteady {
		h.summary = summaryStarting
	}
	urgent := alarm || calm && (boots || h.status != r.lastStatus)
	if due {
		r.due = now.Add(r.cfg.Interval)
	}
	if alarm || urgent && !due {
		r.calm = now.Add(urgentGap)
	}
	if due || urgent {
		r.booted = r.booted || boots
		r.report(snap, h, now, alarm)
	}
	next := earliest(r.due, h.until)
	if h.status != r.lastStatus || boots && !r.booted || r.emergency.waits() {
		next = earliest(r.calm, next)
	}
	return next
}

// earliest returns the earlier of two times, of which b may be zero.
func earliest(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}
