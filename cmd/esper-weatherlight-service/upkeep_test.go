package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// An artifact that is not what its record says is an event, for whoever watches
// the fleet.
func TestIntegrityFailureIsAnEvent(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	service := start(t, serviceDir(t), serviceEnv(redis))
	request := &pb.KernelPrefetchRequest{RequestId: "1", BlueprintId: "BAD_CHECKSUM", IssuedAt: timestamppb.Now()}
	if _, err := client.Publish(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		return errIf(len(packets.events("urza", eventIntegrity)) == 0, "the event is not on the stream")
	})
	got := packets.events("urza", eventIntegrity)[0].GetAttributes()
	if got["kind"] != "checksum_mismatch" || got["blueprint_id"] != "BAD_CHECKSUM" || got["instance"] == "" || len(got["want"]) != 64 || len(got["got"]) != 64 {
		t.Errorf("it says %v", got)
	}
	service.terminate(10 * time.Second)
}
