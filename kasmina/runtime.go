package kasmina

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Errors of a [FileRuntime].
var (
	// ErrChecksum: the file is not the one that was answered.
	ErrChecksum = errors.New("kasmina: checksum mismatch")
	// ErrTooLarge: the artifact is larger than the limit.
	ErrTooLarge = errors.New("kasmina: artifact too large")
)

// Runtime turns an artifact into something that runs. It is safe for concurrent
// use.
type Runtime interface {
	// Load loads an artifact and verifies its checksum; one that cannot be
	// verified is an error. It returns soon after ctx has ended.
	Load(ctx context.Context, a Artifact) (Program, error)
}

// RuntimeFunc is a function as a [Runtime].
type RuntimeFunc func(ctx context.Context, a Artifact) (Program, error)

// Load calls f.
func (f RuntimeFunc) Load(ctx context.Context, a Artifact) (Program, error) { return f(ctx, a) }

// DefaultMaxArtifactBytes is the largest artifact that a [FileRuntime] loads unless
// it says otherwise: 256 MiB.
const DefaultMaxArtifactBytes = 256 << 20

// FileRuntime is the default [Runtime]: it reads the artifact's file into memory
// and gives out its bytes, as a [*File]. The zero FileRuntime is ready to use.
//
// The file is hashed while it is read, and what was hashed is what is given out:
// nothing that happens to the file afterwards matters. That is why it is not
// mapped. A mapping would show later changes as if they had been verified, and a
// file that is cut short under a mapping kills the process.
type FileRuntime struct {
	// MaxBytes is the largest file. Zero means [DefaultMaxArtifactBytes].
	MaxBytes int64
	// Root is the directory outside of which nothing is read, links followed.
	// Empty allows every path.
	Root string
}

// File is the content of an artifact's file.
type File struct {
	data []byte
}

// Bytes returns the verified content. It is shared by every seed that has this
// kernel and must not be changed.
func (f *File) Bytes() []byte { return f.data }

// Reader returns a reader of the content.
func (f *File) Reader() *bytes.Reader { return bytes.NewReader(f.data) }

// Size returns the length in bytes.
func (f *File) Size() int64 { return int64(len(f.data)) }

// Close does nothing: the content goes when nobody uses it any more.
func (f *File) Close() error { return nil }

// Load reads the file a.Ref. Its errors are or wrap [ErrChecksum], also for an
// artifact without a checksum, [ErrTooLarge], those of package os, and ctx's.
func (r FileRuntime) Load(ctx context.Context, a Artifact) (Program, error) {
	want, err := hex.DecodeString(a.Checksum)
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%w: %q is no SHA-256", ErrChecksum, a.Checksum)
	}
	f, err := r.open(a.Ref)
	if err != nil {
		return nil, fmt.Errorf("kasmina: load: %w", err)
	}
	defer f.Close()
	data, sum, err := r.read(ctx, f)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, want) {
		return nil, fmt.Errorf("%w: %s has %x, answered was %s", ErrChecksum, a.Ref, sum, a.Checksum)
	}
	return &File{data}, nil
}

// open opens a file without waiting: a named pipe would block for ever.
func (r FileRuntime) open(path string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if r.Root == "" {
		return os.OpenFile(path, flags, 0)
	}
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	inside, err := r.relative(path)
	if err != nil {
		return nil, err
	}
	return root.OpenFile(inside, flags, 0)
}

// relative returns path as seen from the root. Links are followed by os.Root,
// which refuses those that lead out of it.
func (r FileRuntime) relative(path string) (string, error) {
	base, err := filepath.Abs(r.Root)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	inside, err := filepath.Rel(base, path)
	if err != nil || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
		return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return inside, nil
}

// chunk is how much is read between two looks at the context.
const chunk = 1 << 20

// read reads and hashes a regular file, at most as much as it said it had.
func (r FileRuntime) read(ctx context.Context, f *os.File) (data, sum []byte, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("kasmina: load: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("kasmina: load %s: not a regular file", f.Name())
	}
	if most := cmp.Or(r.MaxBytes, DefaultMaxArtifactBytes); info.Size() > most {
		return nil, nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrTooLarge, f.Name(), info.Size(), most)
	}
	data = make([]byte, info.Size())
	hash := sha256.New()
	for rest := data; len(rest) > 0; {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("kasmina: load %s: %w", f.Name(), context.Cause(ctx))
		}
		n, err := io.ReadFull(f, rest[:min(chunk, len(rest))])
		if err != nil {
			return nil, nil, fmt.Errorf("kasmina: load %s: %w", f.Name(), err)
		}
		hash.Write(rest[:n])
		rest = rest[n:]
	}
	return data, hash.Sum(nil), nil
}
