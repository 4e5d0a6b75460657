// Package contender holds what the bench compares: the same work, done by raw
// go-redis, by us and by the Go libraries that a user would otherwise pick. The
// work is one prefetch: a request is read from a shared queue, an answer to it
// is published, and the request is acknowledged.
package contender

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Options say how the work is done. All contenders get the same.
type Options struct {
	// Addr is where Redis is.
	Addr string
	// Cluster says that it is a node of a Redis Cluster.
	Cluster bool
	// Consumer names this process in the consumer group.
	Consumer string
	// Batch is how many messages go into one round trip, where a contender
	// can.
	Batch int
	// Payload is the size of a request in bytes; an answer has the size of a
	// small request. Ours adds what its messages hold anyway.
	Payload int
	// Catalogue is how many artifacts the library holds, of those that have
	// one.
	Catalogue int
	// Dir is where the library's files are.
	Dir string
	// Program is the service's binary.
	Program string
}

// Contender does the work. The methods may be called at the same time.
type Contender interface {
	// Publish publishes n requests, numbered from first.
	Publish(ctx context.Context, first, n int) error
	// Serve answers requests until ctx ends. It calls ready when requests that
	// are published from then on are answered at once.
	Serve(ctx context.Context, ready func()) error
	// Answered returns how many answers were published.
	Answered(ctx context.Context) (int, error)
	// Close gives the connections back.
	Close() error
}

// Follower is a [Contender] whose answers can be followed by their asker.
type Follower interface {
	Contender
	// Follow calls seen with the number of each answer that is published
	// after ready was called, until ctx ends.
	Follow(ctx context.Context, ready func(), seen func(number int)) error
}

// Kind is a sort of contender.
type Kind struct {
	Name string
	// What says in a line what it is.
	What string
	// Peer is a library for job queues or messages, not part of the work's
	// lower bound or of ours.
	Peer bool
	// Batches says whether it publishes in batches of Options.Batch, so that
	// streaming it means anything.
	Batches bool
	// Library says whether it answers from a library under Options.Dir.
	Library bool
	// Program says whether it runs Options.Program, of which no allocations
	// are known.
	Program bool
	// Guard says whether it keeps nonces.
	Guard bool
	New   func(context.Context, Options) (Contender, error)
}

// Kinds are all contenders, the floor first.
var Kinds = []Kind{
	{Name: "floor", What: "raw go-redis: XADD, XREADGROUP, pipelined XADD + XACK", Batches: true, New: newFloor},
	{Name: "floor+", What: "the floor with four HMAC-SHA256 and one commit script a batch", Batches: true, New: newFloorPlus},
	{Name: "floor+ bytes", What: "floor+ with entries as large as ours", Batches: true, New: newFloorBytes},
	{Name: "oona", What: "our bus with a handler that does nothing but answer", Batches: true, Guard: true, New: newOona},
	{Name: "service", What: "what the service runs for prefetches: bus, catalogue, supervisor, telemetry", Batches: true, Guard: true, Library: true, New: newService},
	{Name: "binary", What: "the service's binary with all its workers", Batches: true, Guard: true, Library: true, Program: true, New: newBinary},
	{Name: "watermill", What: "watermill-redisstream, one subscriber", Peer: true, New: newWatermill},
	{Name: "asynq", What: "asynq, 64 workers", Peer: true, New: newAsynq},
}

// url returns the address in the form that the service's settings have.
func (o Options) url() string {
	if o.Cluster {
		return "redis+cluster://" + o.Addr
	}
	return "redis://" + o.Addr + "/0"
}

// Find returns the kind of that name.
func Find(name string) (Kind, error) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, fmt.Errorf("contender: there is no %q", name)
	}
	return Kinds[i], nil
}

// stopped returns nil for the error of a contender that was told to stop.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
