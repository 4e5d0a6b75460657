package workload

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
)

// libraryDir is where the library of this load is.
func (b *Bench) libraryDir() string {
	return filepath.Join(b.Dir, "library-"+strconv.Itoa(b.Load.Catalogue))
}

// prepare empties the server, and makes the library that a kind answers from
// and the service's binary, unless they are there.
func (b *Bench) prepare(ctx context.Context, k contender.Kind) error {
	if err := b.Server.Flush(ctx); err != nil || !k.Library {
		return err
	}
	if k.Program {
		if err := b.program(ctx); err != nil {
			return err
		}
	}
	dir := b.libraryDir()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := contender.MakeLibrary(ctx, dir, b.Load.Catalogue); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}
