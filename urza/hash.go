package urza

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
)

const (
	chunkBytes = 512 << 10
	smallBytes = 1 << 20 // below it a second goroutine costs more than it saves
)

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// hashReader returns the hex SHA-256 of what r holds. It checks ctx and calls
// each, if not nil, for every chunk; an error of each ends it. It holds two
// chunks in memory, whatever the size.
//
// Reading runs ahead of hashing by one chunk, so r must not block for long: it
// is for files.
func hashReader(ctx context.Context, r io.Reader, size int64, each func(n int) error) (string, error) {
	if size <= smallBytes {
		sum, _, err := copyHashed(ctx, io.Discard, r, each)
		return sum, err
	}
	type filled struct {
		buffer *[chunkBytes]byte
		n      int
		err    error
	}
	free, full := make(chan *[chunkBytes]byte, 2), make(chan filled, 2)
	for range 2 {
		free <- chunks.Get().(*[chunkBytes]byte)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(full)
		for buffer := range free {
			n, err := io.ReadFull(r, buffer[:])
			full <- filled{buffer, n, err}
			if err != nil {
				return
			}
		}
	})
	h := sha256.New()
	var failed error
	for f := range full {
		if failed == nil && f.err != nil && !errors.Is(f.err, io.EOF) && !errors.Is(f.err, io.ErrUnexpectedEOF) {
			failed = f.err
		}
		if failed == nil {
			h.Write(f.buffer[:f.n])
			failed = afterChunk(ctx, f.n, each)
		}
		if failed != nil || f.err != nil {
			chunks.Put(f.buffer)
			break
		}
		free <- f.buffer
	}
	close(free)
	for f := range full {
		chunks.Put(f.buffer)
	}
	wg.Wait()
	for buffer := range free {
		chunks.Put(buffer)
	}
	return hex.EncodeToString(h.Sum(nil)), failed
}

func afterChunk(ctx context.Context, n int, each func(n int) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if each != nil && n > 0 {
		return each(n)
	}
	return nil
}

// copyHashed copies r to w and returns the hex SHA-256 and the number of bytes.
// It checks ctx between two reads and calls each like hashReader.
func copyHashed(ctx context.Context, w io.Writer, r io.Reader, each func(n int) error) (string, int64, error) {
	buffer := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(buffer)
	h := sha256.New()
	var total int64
	for {
		n, err := r.Read(buffer[:])
		if n > 0 {
			h.Write(buffer[:n])
			total += int64(n)
			if err := afterChunk(ctx, n, each); err != nil {
				return "", total, err
			}
			if _, err := w.Write(buffer[:n]); err != nil {
				return "", total, err
			}
		}
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), total, nil
		}
		if err != nil {
			return "", total, err
		}
	}
}
