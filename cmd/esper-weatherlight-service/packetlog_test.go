package main

import (
	"context"
	"slices"
	"sync"
	"testing"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// packetLog collects the telemetry packets on the bus.
type packetLog struct {
	mu      sync.Mutex
	packets []*pb.TelemetryPacket
}

// watchPackets follows all packets from the start of a stream; that of telemetry
// if it is empty.
func watchPackets(t *testing.T, client *oona.Client, stream string) *packetLog {
	t.Helper()
	l := &packetLog{}
	if stream == "" {
		stream = client.Streams().Telemetry
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := client.Follow(ctx, oona.Following{
			From:  oona.Cursor{stream: {}},
			Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY},
		}, l)
		if err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l
}

func (l *packetLog) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range batch {
		l.packets = append(l.packets, m.Body.(*pb.TelemetryPacket))
	}
	return make([]oona.Result, len(batch))
}

// from returns the packets of a subsystem so far.
func (l *packetLog) from(subsystem string) []*pb.TelemetryPacket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.packets), func(p *pb.TelemetryPacket) bool { return p.GetSourceSubsystem() != subsystem })
}

// events returns the events of a subsystem with one of the descriptions so far.
func (l *packetLog) events(subsystem string, descriptions ...string) []*pb.TelemetryEvent {
	var events []*pb.TelemetryEvent
	for _, p := range l.from(subsystem) {
		for _, e := range p.GetEvents() {
			if slices.Contains(descriptions, e.GetDescription()) {
				events = append(events, e)
			}
		}
	}
	return events
}
