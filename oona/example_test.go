package oona_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// exampleBus returns a client of a bus inside the process. A service calls
// oona.Connect with the URL of its Redis instead.
func exampleBus() (*oona.Client, func()) {
	keys, err := leyline.NewKeyring(leyline.NewSecret("an example is no place for a secret"))
	if err != nil {
		log.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "example/host-1"})
	if err != nil {
		log.Fatal(err)
	}
	bus := oonatest.New()
	rdb := bus.Redis()
	client, err := oona.New(context.Background(), rdb, oona.Config{Codec: codec, Consumer: "weatherlight-host-1"})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		_ = rdb.Close()
		bus.Close()
	}
}

// A consumer answers requests; whoever asked follows the answers.
func Example() {
	client, closeBus := exampleBus()
	defer closeBus()
	streams := client.Streams()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()

	// Where the answers begin, resolved before anything is asked.
	tail, err := client.Tail(ctx, streams.KernelReady)
	if err != nil {
		log.Fatal(err)
	}
	request := &pb.KernelPrefetchRequest{RequestId: "1", BlueprintId: "BP001", IssuedAt: timestamppb.Now()}
	if _, err := client.Publish(ctx, request); err != nil {
		log.Fatal(err)
	}

	served := make(chan error)
	go func() {
		served <- client.Consume(ctx, oona.Subscription{Stream: streams.KernelRequests, Group: "weatherlight"},
			oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
				return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId(), BlueprintId: r.GetBlueprintId()}}, nil
			}))
	}()

	err = client.Follow(ctx, oona.Following{From: tail},
		oona.Each(func(_ context.Context, a *pb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
			fmt.Println("ready:", a.GetBlueprintId())
			stop() // that is all we wait for
			return nil, nil
		}))
	fmt.Println(err, <-served)
	// Output:
	// ready: BP001
	// <nil> <nil>
}

// Connect waits for a Redis that is not there yet until its context ends.
func ExampleConnect() {
	bus, err := oonatest.Listen("127.0.0.1:0") // in place of a Redis
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	keys, err := leyline.NewKeyring(leyline.NewSecret("an example is no place for a secret"))
	if err != nil {
		log.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := oona.Connect(ctx, oona.Config{URL: bus.URL(), Codec: codec, Consumer: "weatherlight-host-1"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Streams().KernelRequests, client.Close())
	// Output: oona.kernels.requests <nil>
}

// What a handler returns decides what becomes of a message.
func ExampleHandler() {
	client, closeBus := exampleBus()
	defer closeBus()
	streams := client.Streams()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	for _, id := range []string{"impossible", "unwanted", "flaky"} {
		if _, err := client.Publish(ctx, &pb.KernelPrefetchRequest{RequestId: id, IssuedAt: timestamppb.Now()}); err != nil {
			log.Fatal(err)
		}
	}
	err := client.Consume(ctx, oona.Subscription{Stream: streams.KernelRequests, Group: "weatherlight", RetryBase: time.Millisecond},
		oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			switch r.GetRequestId() {
			case "impossible":
				return nil, oona.DeadLetter(errors.New("there is no such kernel"))
			case "unwanted":
				return nil, oona.Drop(nil)
			}
			if m.Attempts == 0 {
				return nil, errors.New("not this time") // tried again
			}
			stop()
			return nil, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	letters, err := client.DeadLetters().List(context.Background(), oona.EntryID{}, 0)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range letters {
		fmt.Println(string(l.Reason)+":", l.Error)
	}
	// Output: rejected: there is no such kernel
}

// A message whose fate matters is published once, however often it is tried.
func ExampleClient_Send() {
	client, closeBus := exampleBus()
	defer closeBus()
	ctx := context.Background()
	signal := oona.Outgoing{
		Message: &pb.EmergencySignal{Level: pb.EmergencyLevel_EMERGENCY_LEVEL_HALT, Origin: "tezzeret"},
		Header:  leyline.Header{MessageID: "0197b5c6-7d33-7d5e-a6b1-6a5b1d1b9f0a"},
		Once:    true,
	}
	first, err := client.Send(ctx, signal)
	if err != nil {
		log.Fatal(err)
	}
	again, err := client.Send(ctx, signal)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first[0].Stream, first[0].ID == again[0].ID)
	// Output: oona.emergency true
}

// Dead letters wait until somebody decides what becomes of them.
func ExampleDeadLetters() {
	client, closeBus := exampleBus()
	defer closeBus()
	streams := client.Streams()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if _, err := client.Publish(ctx, &pb.KernelPrefetchRequest{RequestId: "1", IssuedAt: timestamppb.Now()}); err != nil {
		log.Fatal(err)
	}
	_ = client.Consume(ctx, oona.Subscription{Stream: streams.KernelRequests, Group: "weatherlight"},
		oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
			stop()
			return []oona.Result{{Err: oona.DeadLetter(errors.New("the disk is full"))}}
		}))

	ctx = context.Background()
	letters, err := client.DeadLetters().List(ctx, oona.EntryID{}, 0)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range letters {
		receipt, err := client.DeadLetters().Replay(ctx, l.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("back on", receipt.Stream, "after:", l.Error)
	}
	// Output: back on oona.kernels.requests after: the disk is full
}

// Of all that follow with one replay store, one acts on a message.
func ExampleClient_ReplayStore() {
	client, closeBus := exampleBus()
	defer closeBus()
	store := client.ReplayStore("commands")
	now := time.Now()
	for _, replica := range []string{"a", "b", "a"} {
		verdict, err := store.Claim(context.Background(),
			leyline.Claim{Nonce: "command-1", Holder: replica, IssuedAt: now, Arrival: now},
			now.Add(client.Guard().Retention()))
		fmt.Println(replica, verdict == leyline.Fresh, verdict == leyline.Resumed, errors.Is(err, leyline.Replayed))
	}
	// Output:
	// a true false false
	// b false false true
	// a false true false
}

// A housekeeper removes what is finished, and nothing else.
func ExampleClient_Housekeeper() {
	client, closeBus := exampleBus()
	defer closeBus()
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	keeper, err := client.Housekeeper(oona.Housekeeping{Group: "weatherlight"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(keeper.Run(ctx))
	// Output: <nil>
}

// Figures come under the names that dashboards know.
func ExampleClient_AppendMetrics() {
	client, closeBus := exampleBus()
	defer closeBus()
	if _, err := client.Publish(context.Background(), &pb.TelemetryPacket{PacketId: "1"}); err != nil {
		log.Fatal(err)
	}
	for _, m := range client.AppendMetrics(nil) {
		if strings.HasPrefix(m.Name, "oona.publish_total") {
			fmt.Println(m.Name, m.Value, m.Unit)
		}
	}
	// Output: oona.publish_total 1 count
}
