package oona

import (
	"context"
	"io"
	"slices"

	"github.com/redis/go-redis/v9"
)

// replies reads raw replies, each into memory of its own, which the entries of the
// reply share. It takes about as much as the reply before needed: go-redis alone
// grows from nothing for each, and leaves behind four times what it returns. It
// is for one goroutine.
type replies struct{ last int } // bytes

// largestRoom bounds what is taken before it is known to be needed.
const largestRoom = 4 << 20

// read sends a command, once, whatever the client's retries and redirects are, and
// returns its reply as it stands on the wire: an error or a null, too.
func (r *replies) read(ctx context.Context, rdb redis.UniversalClient, firstKey int8, args ...any) ([]byte, error) {
	reply := replyBuffer{room: min(r.last+r.last/4, largestRoom)}
	cmd := redis.NewRawWriteToCmd(ctx, &reply, args...)
	cmd.SetFirstKeyPos(firstKey)
	if err := rdb.Process(ctx, cmd); err != nil {
		return nil, err
	}
	r.last = len(reply.bytes)
	return reply.bytes, nil
}

// replyBuffer takes in one reply. It has no memory before the reply comes, since
// a read may wait long.
type replyBuffer struct {
	bytes []byte
	room  int
}

// Write implements io.Writer.
func (b *replyBuffer) Write(p []byte) (int, error) {
	if b.bytes == nil {
		b.bytes = make([]byte, 0, max(b.room, len(p)))
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom, which saves io.Copy a buffer of its own.
func (b *replyBuffer) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok { // go-redis copies in another way
		return io.Copy(struct{ io.Writer }{b}, src)
	}
	start := len(b.bytes)
	b.bytes = slices.Grow(b.bytes, int(limited.N))[:start+int(limited.N)]
	n, err := io.ReadFull(limited, b.bytes[start:])
	b.bytes = b.bytes[:start+n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // io.CopyN knows how much there should be
	}
	return int64(n), err
}
