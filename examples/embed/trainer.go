package main

import (
	"context"
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// trainer is this program's own worker: it asks for a kernel, waits for the
// answer and for a packet that says how everybody is, and ends the program.
type trainer struct {
	bus  *oona.Client
	done func()
}

func (t trainer) Run(ctx context.Context) error {
	streams := t.bus.Streams()
	from, err := t.bus.Tail(ctx, streams.KernelReady)
	if err != nil {
		return err
	}
	request := &leylinepb.KernelPrefetchRequest{RequestId: "request-1", BlueprintId: "BP001", IssuedAt: timestamppb.Now()}
	if _, err := t.bus.Publish(ctx, request); err != nil {
		return err
	}
	answered, stop := context.WithCancel(ctx)
	err = t.bus.Follow(answered, oona.Following{From: from}, oona.Each(func(_ context.Context, ready *leylinepb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
		defer stop()
		fmt.Printf("answer: %s is %s\n", ready.GetBlueprintId(), filepath.Base(ready.GetArtifactRef()))
		return nil, nil
	}))
	stop()
	if err != nil {
		return err
	}
	// Packets are read from the start: the first one of a healthy service will do.
	return t.bus.Follow(ctx, oona.Following{From: oona.Cursor{streams.Telemetry: {}}}, oona.Each(func(_ context.Context, packet *leylinepb.TelemetryPacket, _ *oona.Message) ([]proto.Message, error) {
		health := packet.GetSystemHealth()
		if health.GetIndicators()["workers_running"] == "4" {
			fmt.Printf("telemetry: %s, %s workers running\n", health.GetStatus(), health.GetIndicators()["workers_running"])
			t.done()
		}
		return nil, nil
	}))
}
