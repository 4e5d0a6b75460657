package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/esper-lite/esper/oona"
)

// queueView is what waits in a stream for one group of consumers.
type queueView struct {
	Stream  string   `json:"stream"`
	Group   string   `json:"group,omitempty"`
	Waiting *int64   `json:"waiting"` // not finished: undelivered and pending
	Pending *int64   `json:"pending"` // of these, delivered to a consumer
	OldestS *float64 `json:"oldest_seconds"`
	Length  *int64   `json:"length"` // entries, finished ones included
}

// queueReading is what Redis itself says of the queues; the zero reading says
// nothing.
type queueReading struct {
	Queues      []queueView
	DeadLetters *int64
}

// readQueues asks Redis what waits: one command.
func readQueues(ctx context.Context, client *oona.Client) (read queueReading, err error) {
	queues, err := client.Queues(ctx)
	if err != nil {
		return read, err
	}
	streams := client.Streams()
	now := client.Now()
	for _, q := range queues {
		served := q.Stream == streams.KernelRequests || q.Stream == streams.Emergency
		switch {
		case q.Stream == streams.DeadLetter:
			read.DeadLetters = &q.Length
		case q.Waiting() > 0 || served && (q.Group == "" || q.Group == consumerGroup):
			view := queueView{Stream: q.Stream, Group: printable(q.Group), Waiting: new(q.Waiting()), Pending: &q.Pending, Length: &q.Length}
			if !q.Oldest.IsZero() {
				view.OldestS = new(max(0, now.Sub(q.Oldest).Seconds()))
			}
			read.Queues = append(read.Queues, view)
		}
	}
	return read, nil
}

// depthFigures are the depths that processes report, by the stream's usual name.
var depthFigures = map[string]string{
	"oona.queue_depth_normal":          "oona.normal",
	"oona.queue_depth_emergency":       "oona.emergency",
	"oona.queue_depth_kernel_requests": "oona.kernels.requests",
	"oona.queue_depth_kernel_ready":    "oona.kernels.ready",
	"oona.queue_depth_kernel_errors":   "oona.kernels.errors",
}

// queues returns what is known of the queues: from Redis where that was read,
// else what the processes report, which all look at the same streams.
func (f *fleet) queues(read queueReading) ([]queueView, *int64) {
	dead := read.DeadLetters
	if dead == nil {
		dead = f.deepest("oona.dead_letters")
	}
	views := slices.Clone(read.Queues)
	if len(views) == 0 {
		for figure, stream := range depthFigures {
			if depth := f.deepest(figure); depth != nil {
				views = append(views, queueView{Stream: stream, Waiting: depth})
			}
		}
	}
	if views == nil {
		views = []queueView{}
	}
	slices.SortFunc(views, func(a, b queueView) int {
		return cmp.Or(strings.Compare(a.Stream, b.Stream), strings.Compare(a.Group, b.Group))
	})
	return views, dead
}

// deepest returns the largest value of a figure over all processes; nil where
// none reports it.
func (f *fleet) deepest(figure string) *int64 {
	var most *int64
	for _, i := range f.instances {
		if v, ok := i.latest.Figures[figure]; ok && (most == nil || int64(v) > *most) {
			most = new(int64(v))
		}
	}
	return most
}
