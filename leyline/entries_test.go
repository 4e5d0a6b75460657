package leyline_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/esper-lite/esper/leyline"
)

// Every message that the Python side writes opens here, holds the fields that
// the vector lists, and is written by us so that it holds them again.
func TestMessageVectors(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	vectors := readVectors[messageVectors](t, "messages.json").Messages
	types := make(map[int32]bool)
	for _, v := range vectors {
		types[v.TypeNumber] = true
		t.Run(v.Name, func(t *testing.T) {
			env, err := codec.Open(v.Envelope, []byte(v.Signature))
			if err != nil {
				t.Fatal(err)
			}
			if int32(env.Type) != v.TypeNumber {
				t.Errorf("type %v, want %d", env.Type, v.TypeNumber)
			}
			if diff := cmp.Diff([]byte(v.Payload), env.Payload); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			if want := v.Attributes; len(want)+len(env.Attributes()) > 0 {
				if diff := cmp.Diff(want, env.Attributes()); diff != "" {
					t.Errorf("attributes (-want +got):\n%s", diff)
				}
			}
			msg, err := leyline.Decode(env)
			if err != nil {
				t.Fatal(err)
			}
			want := v.message(t)
			if diff := cmp.Diff(want, msg, protocmp.Transform()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			raw, signature, err := codec.Seal(nil, msg, leyline.Header{Extra: v.Attributes})
			if err != nil {
				t.Fatal(err)
			}
			if env, err = codec.Open(raw, signature[:]); err != nil {
				t.Fatal(err)
			}
			again, err := leyline.Decode(env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, again, protocmp.Transform()); diff != "" {
				t.Errorf("fields of what we wrote (-want +got):\n%s", diff)
			}
		})
	}
	for _, value := range busTypes() {
		if !types[int32(value)] {
			t.Errorf("no vector for %v", value)
		}
	}
}

// judge takes an entry through all that this package does, in the order in
// which a consumer does it.
func judge(t *testing.T, codec *leyline.Codec, guard *leyline.Guard, e entryVector, entryID string, nowMs int64) error {
	if e.Payload == nil {
		return leyline.NotAMessage
	}
	env, err := codec.Open(*e.Payload, e.Signature)
	if err != nil {
		return err
	}
	msg, err := leyline.Decode(env)
	if err != nil {
		return err
	}
	if !slices.Contains(streamTypes[e.Stream], env.Type) {
		return leyline.UnexpectedType
	}
	id, err := leyline.IdentityOf(env, msg)
	if err != nil {
		return err
	}
	if err := guard.Admissible(env, id, e.Stream, nowMs); err != nil {
		return err
	}
	if id.Nonce == "" {
		return nil
	}
	arrival := time.UnixMilli(nowMs)
	claim := leyline.Claim{Nonce: id.Nonce, Holder: entryID, IssuedAt: arrival, Arrival: arrival}
	if id.IssuedAtMs != 0 {
		claim.IssuedAt = time.UnixMilli(id.IssuedAtMs)
	}
	_, err = guard.Admit(t.Context(), claim)
	return err
}

// What this package can decide of the contract's entries, it decides as the
// contract wants; what fails in a handler reaches the handler.
func TestEntryVectors(t *testing.T) {
	vectors := readVectors[entryVectors](t, "entries.json")
	for _, c := range vectors.Cases {
		t.Run(c.Name, func(t *testing.T) {
			codec := newCodec(t, leyline.CodecConfig{})
			guard := newGuard(t, leyline.GuardConfig{Store: leyline.NewMemoryStore(100)})
			for i, e := range c.Entries {
				want := c.Want[i]
				switch want {
				case "handled", "retried_then_dead_lettered":
					want = ""
				}
				id := fmt.Sprintf("%d-%d", vectors.NowMs, i)
				for range 2 { // delivered once more: the same outcome
					if err := judge(t, codec, guard, e, id, vectors.NowMs); string(leyline.ReasonOf(err)) != want || (err == nil) != (want == "") {
						t.Errorf("entry %d: %v, want %q", i, err, want)
					}
				}
			}
		})
	}
}
