// Artifact-library stores compiled kernels and serves them, without the bus:
// it adds two versions of a kernel, looks at the record, notices that somebody
// tampered with the file, and cleans up.
//
//	go run ./examples/artifact-library
//
// prints
//
//	version 1: 11 bytes, sha-256 b9f51eba…
//	version 2: 11 bytes, sha-256 96bc07a2…
//	vision kernels: [BP001], stage 2, guard digest guard-bp001
//	resolved: sha-256 96bc07a2…
//	event: checksum_mismatch of BP001
//	resolved: checksum mismatch
//	removed, 0 records left
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

func main() {
	dir, err := os.MkdirTemp("", "artifact-library-")
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(run(context.Background(), dir), os.RemoveAll(dir)); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir string) (err error) {
	library, err := urza.Open(ctx, urza.Config{
		WorkDir:     dir, // catalogue and artifacts are below ./var/urza of it
		OnIntegrity: func(e urza.IntegrityEvent) { fmt.Printf("event: %s of %s\n", e.Kind, e.BlueprintID) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()

	for _, version := range []string{"1", "2"} {
		record, err := library.Add(ctx, urza.Addition{
			BlueprintID: "BP001",
			Reader:      strings.NewReader("kernel, v " + version),
			Descriptor:  &leylinepb.BlueprintDescriptor{Name: "attention", Tier: leylinepb.BlueprintTier_BLUEPRINT_TIER_SAFE, Stage: 2},
			Update:      &leylinepb.KernelCatalogUpdate{GuardDigest: "guard-bp001", CompileMs: 104, PrewarmMs: 24.5},
			Edit:        func(r *urza.Record) error { r.Tags = []string{"Vision"}; return nil },
			Progress:    func(done, _ int64) { fmt.Printf("version %s: %d bytes, ", version, done) },
		})
		if err != nil {
			return err
		}
		fmt.Printf("sha-256 %.8s…\n", record.Checksum)
	}
	for _, e := range library.List(urza.Query{Tag: "vision"}) {
		fmt.Printf("vision kernels: [%s], stage %d, guard digest %s\n", e.BlueprintID, e.Stage, e.GuardDigest)
	}
	artifact, err := library.Resolve(ctx, "BP001")
	if err != nil {
		return err
	}
	fmt.Printf("resolved: sha-256 %.8s…\n", artifact.Checksum)

	if err := os.WriteFile(filepath.Join(dir, artifact.Entry.ArtifactPath), []byte("something else"), 0o644); err != nil {
		return err
	}
	_, err = library.Resolve(ctx, "BP001")
	if _, tampered := errors.AsType[*urza.ChecksumError](err); !tampered {
		return fmt.Errorf("served a file that was tampered with: %w", err)
	}
	fmt.Println("resolved: checksum mismatch")

	if err := library.Remove(ctx, "BP001"); err != nil {
		return err
	}
	fmt.Printf("removed, %d records left\n", len(library.List(urza.Query{})))
	return nil
}
