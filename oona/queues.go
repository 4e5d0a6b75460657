package oona

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed queues.lua
var queuesSource string

var queuesScript = redis.NewScript(groupsSource + queuesSource)

// Queue is what a consumer group has not finished of a stream; for a stream
// without groups there is one Queue without a Group.
type Queue struct {
	Stream string
	Group  string
	// Undelivered entries were not read by any consumer of the group yet,
	// Pending ones were read and not acknowledged.
	Undelivered int64
	Pending     int64
	// Oldest is when the oldest of both reached the stream; zero where there
	// is none.
	Oldest time.Time
	// Consumers are those that the group knows, alive or not.
	Consumers int64
	// Length is the number of entries of the stream, finished ones included.
	Length int64
}

// Waiting is how many entries are not finished.
func (q Queue) Waiting() int64 { return q.Undelivered + q.Pending }

// Queues asks Redis what waits in the client's streams: one command, whose cost
// does not grow with what waits. Streams are in the order of [Streams.All].
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	streams := c.cfg.Streams.All()
	found, err := queuesScript.Run(ctx, c.rdb, streams).Slice()
	if err != nil {
		return nil, fmt.Errorf("oona: queues: %w", err)
	}
	if len(found) != len(streams) {
		return nil, fmt.Errorf("oona: queues: %d answers for %d streams", len(found), len(streams))
	}
	var queues []Queue
	for i, stream := range streams {
		fields, _ := found[i].([]any)
		if len(fields) != 2 {
			return nil, fmt.Errorf("oona: queues: %v for a stream", found[i])
		}
		length, _ := fields[0].(int64)
		groups, _ := fields[1].([]any)
		if len(groups) == 0 {
			queues = append(queues, Queue{Stream: stream, Length: length})
		}
		for _, g := range groups {
			q, err := queueOf(g)
			if err != nil {
				return nil, err
			}
			q.Stream, q.Length = stream, length
			queues = append(queues, q)
		}
	}
	return queues, nil
}

func queueOf(reply any) (q Queue, err error) {
	fields, _ := reply.([]any)
	if len(fields) != 5 {
		return q, fmt.Errorf("oona: queues: %v for a group", reply)
	}
	q.Group, _ = fields[0].(string)
	q.Undelivered, _ = fields[1].(int64)
	q.Pending, _ = fields[2].(int64)
	q.Consumers, _ = fields[3].(int64)
	if oldest, _ := fields[4].(string); oldest != "" {
		id, err := ParseEntryID(oldest)
		if err != nil {
			return q, fmt.Errorf("oona: queues: %w", err)
		}
		q.Oldest = id.Time()
	}
	return q, nil
}
