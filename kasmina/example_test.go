package kasmina_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// connect returns a client of an in-process bus; a trainer uses oona.Connect.
func connect(ctx context.Context, bus *oonatest.Bus, name string) *oona.Client {
	keys, err := leyline.NewKeyring(leyline.NewSecret("a secret of good length"))
	if err != nil {
		log.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	client, err := oona.New(ctx, bus.Redis(), oona.Config{Codec: codec, Consumer: name})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// library answers one kernel, in the place of the fleet's library.
func answerRequests(ctx context.Context, client *oona.Client, ref, checksum string) {
	_ = client.Consume(ctx, oona.Subscription{Stream: client.Streams().KernelRequests, Group: "weatherlight"},
		oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			return []proto.Message{&pb.KernelArtifactReady{
				RequestId: r.RequestId, BlueprintId: r.BlueprintId, ArtifactRef: ref, Checksum: checksum,
			}}, nil
		}))
}

// A trainer germinates seeds and gets them their kernels.
func Example() {
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "BP001.pt")
	if err := os.WriteFile(path, []byte("compiled"), 0o600); err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256([]byte("compiled"))

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bus := oonatest.New()
	defer bus.Close()
	go answerRequests(ctx, connect(ctx, bus, "library"), path, hex.EncodeToString(sum[:]))

	coordinator, err := kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: connect(ctx, bus, "trainer")})
	if err != nil {
		log.Fatal(err)
	}
	manager, err := kasmina.NewManager(kasmina.ManagerConfig{Kernels: coordinator})
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = coordinator.Run(ctx) }() // returns when ctx ends

	for _, id := range []string{"seed-1", "seed-2"} {
		if _, err := manager.Germinate(ctx, kasmina.Germination{SeedID: id, BlueprintID: "BP001"}); err != nil {
			log.Fatal(err)
		}
	}
	for _, id := range []string{"seed-1", "seed-2"} {
		seed, err := manager.AwaitTraining(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		kernel, err := manager.Kernel(id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(seed.ID, seed.Stage, string(kernel.Program().(*kasmina.File).Bytes()))
		kernel.Release()
	}
	// Output:
	// seed-1 SEED_STAGE_TRAINING compiled
	// seed-2 SEED_STAGE_TRAINING compiled
}

// Without a coordinator, an embedder attaches kernels of its own making.
func ExampleManager() {
	ctx := context.Background()
	manager, err := kasmina.NewManager(kasmina.ManagerConfig{
		Gates: kasmina.Gates{
			Stability: kasmina.GateFunc(func(_ context.Context, seed kasmina.Seed, _ *kasmina.Kernel) error {
				if seed.Latency == 0 {
					return fmt.Errorf("%w: not measured yet", kasmina.ErrHeld)
				}
				return nil
			}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := manager.Germinate(ctx, kasmina.Germination{SeedID: "seed-1", BlueprintID: "BP001"}); err != nil {
		log.Fatal(err)
	}
	artifact := kasmina.Artifact{BlueprintID: "BP001", Checksum: "ab"}
	if _, err := manager.Attach(ctx, "seed-1", kasmina.NewKernel(artifact, &kasmina.File{})); err != nil {
		log.Fatal(err)
	}
	_, err = manager.Advance(ctx, "seed-1")
	fmt.Println(err)
	if err := manager.Observe("seed-1", 3*time.Millisecond); err != nil {
		log.Fatal(err)
	}
	seed, err := manager.Advance(ctx, "seed-1")
	fmt.Println(seed.Stage, err)
	_, err = manager.Advance(ctx, "seed-1")
	fmt.Println(err)
	// Output:
	// kasmina: seed "seed-1" at SEED_GATE_G2_STABILITY: kasmina: held at its gate: not measured yet
	// SEED_STAGE_BLENDING <nil>
	// kasmina: seed "seed-1" at SEED_GATE_G3_INTERFACE: kasmina: held at its gate: only the trainer can judge it, and there is no gate for it
}

// A cache loads a file, verifies it, and shares it.
func ExampleCache() {
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "BP001.pt")
	if err := os.WriteFile(path, []byte("compiled"), 0o600); err != nil {
		log.Fatal(err)
	}
	cache, err := kasmina.NewCache(kasmina.CacheConfig{
		Runtime: kasmina.FileRuntime{Root: dir},
		Prewarm: func(_ context.Context, k *kasmina.Kernel) error {
			fmt.Println("prewarming", k.Artifact().BlueprintID)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256([]byte("compiled"))
	artifact := kasmina.Artifact{BlueprintID: "BP001", Ref: path, Checksum: hex.EncodeToString(sum[:])}
	for range 2 {
		kernel, err := cache.Load(context.Background(), artifact)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(kernel.Program().Size(), "bytes")
		kernel.Release()
	}
	artifact.BlueprintID, artifact.Checksum = "BP002", hex.EncodeToString(make([]byte, 32))
	_, err = cache.Load(context.Background(), artifact)
	fmt.Println(err != nil)
	// Output:
	// prewarming BP001
	// 8 bytes
	// 8 bytes
	// true
}
