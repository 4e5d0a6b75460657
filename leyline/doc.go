// Package leyline is the contract that Esper's processes share: the messages,
// how an entry of a stream is sealed and opened, and when a message may be acted
// on. It knows no bus; package oona carries its entries over Redis Streams, and
// everything here works as well with any other transport.
//
// The contract itself, of wire, disk, telemetry and settings, is contract.md in
// this folder: "contract section 2" in a comment is its section 2. The messages
// are in leyline.proto, their Go types in package leylinepb; package leylinetest
// tests a [ReplayStore] of yours, package leylineprom turns telemetry into metrics.
//
// # Promises
//
// An entry is two fields: payload, a serialized BusEnvelope, and signature, the
// padded standard base64 of HMAC-SHA256 over exactly these bytes. What
// [Codec.Seal] writes, the Python implementation opens, and the other way round.
//
// Bytes without a valid signature reach no parser, allocate nothing, and cost no
// more than one MAC per accepted key; bytes over the size limit not even that.
// Comparison is in constant time. A verifier without a key refuses everything.
//
// Every refusal has a name, a [Reason]: an error that errors.Is finds through any
// wrapping. A refused message is forgotten; an authentic one that cannot be
// handled is somebody's work, and is kept as a dead letter ([Reason.Authentic]).
// A message that cannot be judged, because the [ReplayStore] is full or away, is
// neither: it waits.
//
// Of any number of messages with one nonce that reach a [Guard] while they could
// be fresh, one passes. The same entry that comes again, as a retry or a
// redelivery, is [Resumed] and not taken for a replay.
//
// Keys change under load without a message refused ([Keyring.Rotate],
// [KeyFiles]). A [Secret] cannot be printed, logged or marshalled.
//
// All types are safe for concurrent use unless they say otherwise. Nothing here
// starts a goroutine, reads the environment, or logs by itself.
//
// # Use
//
// A consumer takes an entry through these steps, each of which may refuse it:
//
//	env, err := codec.Open(payload, signature)           // size, signature, envelope
//	msg, err := leyline.Decode(env)                      // type, message
//	id, err := leyline.IdentityOf(env, msg)              // nonce and time of issue
//	err = guard.Admissible(env, id, stream, arrivalMs)   // audience, freshness
//	verdict, err := guard.Admit(ctx, leyline.Claim{...}) // nonce
//
// The last step belongs right before the first effect; a consumer whose only
// effect is a transaction makes the claim a part of that (package oona does).
// What is not on a stream needs only [Keyring.Verify] and [Guard.Admit], as the
// webhook in examples/replay-guard shows. [Refusals] counts what was refused, and
// [LogLimiter] keeps a flood of it from filling the logs.
//
// # Threat model
//
// Whoever holds a secret is trusted with everything: to issue any message of any
// type in anybody's name, for the signature says that some holder issued it, not
// which; the attribute source is a claim. There is one secret for all, so one
// holder that is broken into is all of them. Rotate it then: accept the new one
// everywhere, sign with it, drop the old one.
//
// Whoever can write to Redis, without a secret, is trusted with availability, and
// with the guard's own records. They can add entries with any bytes and any id:
// those are refused. They can delete entries, trim streams and fill memory: what
// is gone is gone. And where the nonces and marks are in Redis, who deletes these
// makes recordings pass again: the fresh ones without the nonces, and all of
// them, with back-dated entry ids, without the marks. Give these keys to nobody
// but the consumers (Redis ACLs). Whoever can only read Redis reads every message
// and can record it: there is no confidentiality here, and TLS protects the way
// there only.
//
// What stops what:
//
//   - Forgery and tampering: the signature, over the envelope with all of its
//     attributes. It does not cover the stream and the entry id, which the
//     transport chooses.
//   - Old recordings: the window of freshness. It is measured against the arrival
//     (the smaller of the entry id's time and the server's clock), so an entry id
//     far ahead changes nothing; but one in the past makes a recording look as if
//     it had arrived then, so a consumer must refuse ids below a mark that only
//     rises, as oona does. Clocks more than [DefaultClockSkew] apart refuse good
//     messages; nothing here corrects them.
//   - Fresh recordings: the nonce, for as long as a copy could be fresh. It does
//     not stop a holder of the secret from issuing the same order under a new
//     nonce. A [MemoryStore] knows nothing of other processes and of the time
//     before it was made; replicas need a shared one.
//   - Recordings on another stream: the signed audience. Python producers send
//     none, so it is complete only in mode [Strict]. In mode [Compat] a message
//     without issue time or id of its own can be replayed and moved at will;
//     handlers of such types must be harmless when repeated, and a
//     KernelCatalogUpdate is no more than a hint to look.
//   - Commands that travel outside of an envelope: their inner signature
//     ([VerifyCommand]). The contract has it use the same secret without saying
//     what for, so that the signed bytes of a command also pass as a signed
//     envelope: its version is taken for the type, its id for the message. Such
//     an envelope has no attributes, so mode [Strict] refuses it; in mode [Compat]
//     only an id that happens to decode as a message would get further.
//   - Floods: refusals cost less than good messages, and counters, logs and the
//     store are bounded. Somebody with the secret can fill the store; then
//     messages wait until nonces expire, and none is forgotten early.
//   - Guessing the secret: its length. Whoever reads one entry can try secrets at
//     leisure, so it must not be a word; below [MinSecretBytes] it is weak, which
//     mode [Strict] refuses.
//
// Not covered: the order of messages, a message that somebody deletes or holds
// back, side channels outside of the comparison, and copies of secrets in memory.
package leyline

//go:generate ./generate.sh
