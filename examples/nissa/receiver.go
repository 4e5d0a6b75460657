package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// group is the consumer group of the observability service.
const group = "nissa-service"

// farewell is the summary of the last packet of a process that stops in order.
const farewell = "shutdown"

// Bounds of what is remembered, and for how long a process that is silent is
// shown. Beyond them processes and events count as "other".
const (
	maxProcesses = 1024
	maxEvents    = 1024
	silence      = 5 * time.Minute
	other        = "other"
)

// origin is who sent a packet: a subsystem, and which of its processes.
type origin struct{ Source, Instance string }

// event is a kind of telemetry event.
type event struct{ Source, Description, Level string }

// latest is what a process said last.
type latest struct {
	at      time.Time
	figures []leyline.Metric
	health  pb.HealthStatus
}

// receiver keeps what the fleet says. It is safe for concurrent use.
type receiver struct {
	log *slog.Logger

	mu        sync.Mutex
	documents io.Writer
	processes map[origin]latest
	packets   map[string]float64 // by source
	events    map[event]float64
	messages  map[string]float64 // documents written, by type
	refused   float64            // what could not be made a document
}

func newReceiver(documents io.Writer, log *slog.Logger) *receiver {
	return &receiver{
		log:       log,
		documents: documents,
		processes: make(map[origin]latest),
		packets:   make(map[string]float64),
		events:    make(map[event]float64),
		messages:  make(map[string]float64),
	}
}

// receive reads both streams until ctx ends.
func (r *receiver) receive(ctx context.Context, bus *oona.Client) error {
	streams := bus.Streams()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, 2)
	var reading sync.WaitGroup
	for i, sub := range []oona.Subscription{
		{Stream: streams.Telemetry, Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY}},
		{Stream: streams.Normal, Types: []pb.BusMessageType{
			pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE,
			pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT,
			pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_ISSUED,
			pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_FAILED,
			pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT,
		}},
	} {
		sub.Group, sub.Others = group, oona.AcknowledgeOthers // commands are for others
		reading.Go(func() {
			defer stop() // one stream alone is half a receiver
			errs[i] = bus.Consume(ctx, sub, r)
		})
	}
	reading.Wait()
	return errors.Join(errs...)
}

// Handle takes what came; see [oona.Handler]. What cannot be a document is
// refused: it never will be one.
func (r *receiver) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([]oona.Result, len(batch))
	for i, m := range batch {
		document, err := documentOf(m)
		if err != nil {
			r.refused++
			results[i].Err = oona.DeadLetter(err)
			continue
		}
		if _, err := r.documents.Write(document); err != nil {
			results[i].Err = err // tried again: a full disk passes
			continue
		}
		r.take(m.Arrival, m.Body)
	}
	return results
}

func (r *receiver) take(at time.Time, body proto.Message) {
	r.messages[string(body.ProtoReflect().Descriptor().Name())]++
	packet, ok := body.(*pb.TelemetryPacket)
	if !ok {
		return
	}
	from := origin{packet.GetSourceSubsystem(), packet.GetSystemHealth().GetIndicators()["instance"]}
	if _, known := r.packets[from.Source]; !known && len(r.packets) >= maxProcesses {
		from.Source = other
	}
	r.packets[from.Source]++
	r.forget(at)
	_, known := r.processes[from]
	switch {
	case packet.GetSystemHealth().GetSummary() == farewell:
		delete(r.processes, from) // its workers are down because they should be
	case known || len(r.processes) < maxProcesses:
		r.processes[from] = latest{at, figuresOf(packet), packet.GetSystemHealth().GetStatus()}
	}
	for _, e := range packet.GetEvents() {
		kind := event{from.Source, e.GetDescription(), e.GetLevel().String()}
		if _, known := r.events[kind]; !known && len(r.events) >= maxEvents {
			kind = event{other, other, other}
		}
		r.events[kind]++
	}
}

// forget drops processes that have been silent for long.
func (r *receiver) forget(now time.Time) {
	for from, said := range r.processes {
		if now.Sub(said.at) > silence {
			delete(r.processes, from)
		}
	}
}

// figuresOf returns the metric values of a packet by name.
func figuresOf(packet *pb.TelemetryPacket) []leyline.Metric {
	figures := make([]leyline.Metric, 0, len(packet.GetMetrics()))
	for _, p := range packet.GetMetrics() {
		figures = append(figures, leyline.Metric{Name: p.GetName(), Value: p.GetValue(), Unit: p.GetUnit(), Attributes: p.GetAttributes()})
	}
	return figures
}
