// Package oona carries messages between processes over Redis Streams.
//
// Delivery is at least once: a [Handler] may see the same message again, after
// a crash or a failure. Answers are published exactly once: they are committed
// together with the acknowledgement of the message they answer, by whoever
// acknowledges first, or not at all. A message is gone from the bus only when it
// was handled, refused under a [leyline.Reason] that is counted, or kept as a
// dead letter.
//
// There are two ways to read. [Client.Consume] shares a stream among the members
// of a consumer group, each message to one of them: work. [Client.Follow] shows
// every message to every reader, from a [Cursor] on: news. Both block until
// their context ends, wait while Redis is away, and pass on only messages that
// are authentic, current and, where that is asked for, not replayed.
//
//	client, err := oona.Connect(ctx, oona.Config{URL: url, Codec: codec, Consumer: name})
//	...
//	err = client.Consume(ctx, oona.Subscription{Stream: client.Streams().KernelRequests, Group: "weatherlight"},
//		oona.Each(func(ctx context.Context, req *leylinepb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
//			return []proto.Message{answer(req)}, nil
//		}))
//
// # What a handler may answer
//
// nil finishes the message. [RetryAfter] asks for it again and charges nothing.
// [Drop] forgets it. [DeadLetter] gives it up. Any other error, a panic and a
// missed deadline are a failed attempt: the message stays pending, the same
// consumer tries it again after a backoff, and after the last attempt it is a
// dead letter.
//
// # Names and bounds
//
// Keys of ours start with "oona:", on a Redis Cluster with "{oona}:". A consumer
// holds at most Subscription.MaxHeld entries; Redis holds the nonces of about
// one and a half freshness windows.
package oona
