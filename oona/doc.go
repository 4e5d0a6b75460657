// Package oona carries messages between processes over Redis Streams.
//
// Delivery is at least once: a [Handler] may see the same message again, after
// a crash or a failure. Answers are published exactly once: they are committed
// together with the acknowledgement of the message they answer, by whoever
// comes first, or not at all. A message is gone from the bus only when it was
// handled, refused under a [leyline.Reason] that is counted, or kept as a dead
// letter.
//
// There are two ways to read. [Client.Consume] shares a stream among the members
// of a consumer group, each message to one of them: work. [Client.Follow] shows
// every message to every reader, from a [Cursor] on: news. Both block until
// their context ends, wait while Redis is away, and pass on only messages that
// are authentic, current and, where that is asked for, not replayed.
//
// # Use
//
// A process connects. The messages are in package leyline/leylinepb, whose
// comments say which fields are required.
//
//	func connect(ctx context.Context, url string, secret leyline.Secret) (*oona.Client, error) {
//		keys, err := leyline.NewKeyring(secret)
//		if err != nil {
//			return nil, err
//		}
//		codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "trainer/host-1"})
//		if err != nil {
//			return nil, err
//		}
//		return oona.Connect(ctx, oona.Config{URL: url, Codec: codec, Consumer: "trainer-host-1"})
//	}
//
// It publishes what others handle. Who waits for an answer finds out where the
// answers will begin before it asks, and bounds ctx:
//
//	func ask(ctx context.Context, client *oona.Client, id, blueprint string) (path string, err error) {
//		tail, err := client.Tail(ctx, client.Streams().KernelReady, client.Streams().KernelErrors)
//		if err != nil {
//			return "", err
//		}
//		request := &leylinepb.KernelPrefetchRequest{RequestId: id, BlueprintId: blueprint, IssuedAt: timestamppb.Now()}
//		if _, err := client.Publish(ctx, request); err != nil {
//			return "", err
//		}
//		answer := errors.New("no answer in time")
//		ctx, done := context.WithCancel(ctx)
//		defer done()
//		err = client.Follow(ctx, oona.Following{From: tail},
//			oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
//				for _, m := range batch {
//					switch a := m.Body.(type) {
//					case *leylinepb.KernelArtifactReady:
//						if a.GetRequestId() == id {
//							path, answer = a.GetArtifactRef(), nil
//							done()
//						}
//					case *leylinepb.KernelArtifactError:
//						if a.GetRequestId() == id {
//							answer = errors.New(a.GetReason())
//							done()
//						}
//					}
//				}
//				return make([]oona.Result, len(batch))
//			}))
//		return path, errors.Join(err, answer)
//	}
//
// For kernels there is less to write: kasmina.Coordinator does all this, for many
// at once, and asks again when an answer is lost. A consumer answers:
//
//	func serve(ctx context.Context, client *oona.Client, path string) error {
//		return client.Consume(ctx, oona.Subscription{Stream: client.Streams().KernelRequests, Group: "weatherlight"},
//			oona.Each(func(_ context.Context, r *leylinepb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
//				ready := &leylinepb.KernelArtifactReady{RequestId: r.GetRequestId(), BlueprintId: r.GetBlueprintId(), ArtifactRef: path}
//				return []proto.Message{ready}, nil
//			}))
//	}
//
// # What a handler may answer
//
// nil finishes the message. [RetryAfter] asks for it again and charges nothing.
// [Drop] forgets it. [DeadLetter] gives it up. Any other error, a panic and a
// missed deadline are a failed attempt: the message stays pending, the same
// consumer tries it again after a backoff, and after the last attempt it is a
// dead letter.
//
// # Replays
//
// A message is known by its nonce: a request by its id, others by the signed id
// of their envelope. A nonce is bound to the first entry that is settled with it,
// answered, dropped or given up, and a later entry with the same one is refused.
// So is one whose nonce nobody can know any more: older than the low-water mark,
// before which everything is finished. A retry, or an entry that another consumer
// takes over, is the same entry, and never taken for a replay. A handler that
// acts before it answers sets Subscription.ClaimFirst, and has the nonce bound
// before it is called.
//
// # Faults
//
// What a process held when it died is handled by its siblings after
// Subscription.ReclaimIdle; what it handed back as it stopped, within seconds. A
// message that ends processes is found out by running it alone, and given up;
// those beside it are not. Redis may go away, restart, fail over or lose a group:
// reading and committing wait and go on, without a hot loop. [Client.Publish]
// says when it does not know whether it succeeded ([ErrUncertain]);
// [Outgoing.Once] makes sure. Package oonatest causes such faults, for tests of
// embedders too.
//
// # Names and bounds
//
// Keys of ours start with "oona:", on a Redis Cluster with "{oona}:", where the
// streams have the tag {oona} as well. A consumer holds at most
// Subscription.MaxHeld entries and a few batches; Redis holds the nonces of about
// one and a half freshness windows, and of whatever waits. Finished entries are
// removed by a [Housekeeper], of which at least one should run; dead letters by
// nobody but [DeadLetters].
//
// # Rights
//
// On a Redis with access control, this is all that a client needs:
//
//	ACL SETUSER weatherlight on >PASSWORD resetkeys ~oona.* ~oona:* resetchannels -@all
//		+hello +auth +ping +time +eval +evalsha
//		+xadd +xack +xlen +xdel +xtrim +xrange +xread +xreadgroup +xpending +xclaim
//		+xgroup|create +xgroup|delconsumer +xinfo|stream +xinfo|groups +xinfo|consumers
//		+exists +get +set +hget +hset +hdel +hlen +hmget +hgetall +pttl +pexpire +pexpireat +unlink
//
// The command reads more, for its status and dead letters: its rights are in
// infra/operations.md. With +config|get a client also refuses a server that
// evicts keys, and warns of one that keeps no append-only file. On a Cluster the
// keys are ~{oona}.* ~{oona}:*, and clients also need +cluster|slots +cluster|shards
// +command +readonly; a database other than 0 needs +select.
package oona
