// Publish-request asks for a compiled kernel as a trainer does, and waits for the
// answer. It needs a bus with a service on it, for example
//
//	export ESPER_LEYLINE_SECRET=try-it-out-12345678
//	echo compiled >kernel.pt
//	esper-weatherlight-service urza add kernel.pt --blueprint BP001
//	esper-weatherlight-service run --embedded &
//
// and then go run ./examples/publish-request BP001 BP404 prints
//
//	BP001 is ready: …BP001… (SHA-256 …)
//	BP404 is not to be had: missing_artifact
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bus, err := connect(ctx)
	for _, blueprint := range os.Args[1:] {
		if err == nil {
			err = ask(ctx, bus, blueprint)
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}

func connect(ctx context.Context) (*oona.Client, error) {
	keys, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{
		Signing:     leyline.NewSecret(os.Getenv("ESPER_LEYLINE_SECRET")),
		SigningFile: os.Getenv("ESPER_LEYLINE_SECRET_FILE"),
	})
	if err != nil {
		return nil, fmt.Errorf("ESPER_LEYLINE_SECRET, or ESPER_LEYLINE_SECRET_FILE: %w", err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys.Keyring(), Source: "publish-request/example-1"})
	if err != nil {
		return nil, err
	}
	url := cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379/0")
	return oona.Connect(ctx, oona.Config{URL: url, Codec: codec})
}

func ask(ctx context.Context, bus *oona.Client, blueprint string) error {
	// Where the answer will be is found before the question is asked. From a
	// service in trouble it comes on the emergency stream.
	streams := bus.Streams()
	from, err := bus.Tail(ctx, streams.KernelReady, streams.KernelErrors, streams.Emergency)
	if err != nil {
		return err
	}
	request := &leylinepb.KernelPrefetchRequest{RequestId: uuid.NewString(), BlueprintId: blueprint, IssuedAt: timestamppb.Now()}
	if _, err := bus.Publish(ctx, request); err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	unanswered := fmt.Errorf("%s: no answer in time", blueprint)
	err = bus.Follow(ctx, oona.Following{From: from}, oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
		for _, m := range batch {
			if id, text := read(m.Body); id == request.GetRequestId() {
				fmt.Println(text)
				unanswered = nil
				done()
			}
		}
		return make([]oona.Result, len(batch))
	}))
	return errors.Join(err, unanswered)
}

// read returns whose answer it is, and what it says.
func read(answer proto.Message) (request, text string) {
	switch a := answer.(type) {
	case *leylinepb.KernelArtifactReady:
		return a.GetRequestId(), fmt.Sprintf("%s is ready: %s (SHA-256 %s)", a.GetBlueprintId(), a.GetArtifactRef(), a.GetChecksum())
	case *leylinepb.KernelArtifactError:
		return a.GetRequestId(), fmt.Sprintf("%s is not to be had: %s", a.GetBlueprintId(), a.GetReason())
	}
	return "", ""
}
