package leyline_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// The Python side's commands verify here, and ours carry the very signature
// that the Python side computes.
func TestCommandVectors(t *testing.T) {
	keys := newKeyring(t, goldenSecret)
	vectors := readVectors[messageVectors](t, "messages.json").SignedCommands
	if len(vectors) == 0 {
		t.Fatal("no signed commands in the vectors")
	}
	for _, v := range vectors {
		t.Run(v.Of, func(t *testing.T) {
			cmd := new(pb.AdaptationCommand)
			if err := proto.Unmarshal(v.Command, cmd); err != nil {
				t.Fatal(err)
			}
			if got := cmd.GetAnnotations()[leyline.AnnotationSignature]; got != v.Signature {
				t.Fatalf("vector carries signature %q, says %q", got, v.Signature)
			}
			if err := leyline.VerifyCommand(keys, cmd); err != nil {
				t.Errorf("VerifyCommand: %v", err)
			}
			delete(cmd.Annotations, leyline.AnnotationSignature)
			if err := leyline.SignCommand(keys, cmd); err != nil {
				t.Fatal(err)
			}
			if got := cmd.Annotations[leyline.AnnotationSignature]; got != v.Signature {
				t.Errorf("SignCommand = %q, Python side signs %q", got, v.Signature)
			}
			if want := keys.Sign(v.Signed).String(); want != v.Signature {
				t.Errorf("signed bytes of the vector give %q, not %q", want, v.Signature)
			}
		})
	}
}

func newCommand(t *testing.T) *pb.AdaptationCommand {
	t.Helper()
	state, err := structpb.NewStruct(map[string]any{
		"b": map[string]any{"z": 1, "a": []any{"x", nil, true}}, "a": 2.5,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &pb.AdaptationCommand{
		Version: 1, CommandId: "cmd-1", CommandType: pb.CommandType_COMMAND_ROLLBACK,
		IssuedAt:    &timestamppb.Timestamp{Seconds: 1758801600},
		IssuedBy:    "tamiyo",
		Payload:     &pb.AdaptationCommand_RollbackPayload{RollbackPayload: state},
		Annotations: map[string]string{"policy": "v2", "blend_mode": "CONVEX", "a": "1", "b": "2"},
	}
}

func TestCommandTampering(t *testing.T) {
	keys := newKeyring(t, "a secret of good length")
	for name, tamper := range map[string]func(*pb.AdaptationCommand){
		"id":                 func(c *pb.AdaptationCommand) { c.CommandId += "x" },
		"deadline":           func(c *pb.AdaptationCommand) { c.ExecutionDeadlineMs = 1 },
		"issue time":         func(c *pb.AdaptationCommand) { c.IssuedAt.Seconds++ },
		"payload":            func(c *pb.AdaptationCommand) { c.Payload = nil },
		"deep in payload":    func(c *pb.AdaptationCommand) { c.GetRollbackPayload().Fields["a"] = structpb.NewBoolValue(true) },
		"other annotation":   func(c *pb.AdaptationCommand) { c.Annotations["policy"] = "v3" },
		"annotation added":   func(c *pb.AdaptationCommand) { c.Annotations["more"] = "" },
		"annotation removed": func(c *pb.AdaptationCommand) { delete(c.Annotations, "policy") },
		"unknown field":      func(c *pb.AdaptationCommand) { c.ProtoReflect().SetUnknown([]byte{0xf8, 0x01, 0x01}) },
		"signature": func(c *pb.AdaptationCommand) {
			c.Annotations[leyline.AnnotationSignature] = "A" + c.Annotations[leyline.AnnotationSignature][1:]
		},
		"signature cut": func(c *pb.AdaptationCommand) {
			c.Annotations[leyline.AnnotationSignature] = c.Annotations[leyline.AnnotationSignature][:43]
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := newCommand(t)
			if err := leyline.SignCommand(keys, cmd); err != nil {
				t.Fatal(err)
			}
			if err := leyline.VerifyCommand(keys, cmd); err != nil {
				t.Fatalf("before: %v", err)
			}
			tamper(cmd)
			if err := leyline.VerifyCommand(keys, cmd); !errors.Is(err, leyline.BadSignature) {
				t.Errorf("after: %v, want %v", err, leyline.BadSignature)
			}
		})
	}
}

// The order in which a Go map happens to be walked must not reach the bytes.
func TestCommandSignatureIsStable(t *testing.T) {
	keys := newKeyring(t, "a secret of good length")
	var first string
	for range 50 {
		cmd := newCommand(t)
		if err := leyline.SignCommand(keys, cmd); err != nil {
			t.Fatal(err)
		}
		got := cmd.Annotations[leyline.AnnotationSignature]
		if first == "" {
			first = got
		}
		if got != first {
			t.Fatalf("signatures differ: %s, %s", first, got)
		}
	}
}

func TestCommandKeys(t *testing.T) {
	cmd := newCommand(t)
	if err := leyline.VerifyCommand(newKeyring(t, "x"), cmd); err != leyline.Unsigned {
		t.Errorf("without a signature: %v, want %v", err, leyline.Unsigned)
	}
	if err := leyline.VerifyCommand(newKeyring(t, "x"), nil); err != leyline.Unsigned {
		t.Errorf("nil command: %v, want %v", err, leyline.Unsigned)
	}
	if err := leyline.SignCommand(newKeyring(t, "old"), cmd); err != nil {
		t.Fatal(err)
	}
	if err := leyline.VerifyCommand(newKeyring(t, "new", "old"), cmd); err != nil {
		t.Errorf("signed with an accepted key: %v", err)
	}
	if err := leyline.VerifyCommand(newKeyring(t, "new"), cmd); !errors.Is(err, leyline.BadSignature) {
		t.Errorf("signed with another key: %v", err)
	}
	for name, none := range map[string]*leyline.Keyring{"nil": nil, "zero": new(leyline.Keyring)} {
		if err := leyline.VerifyCommand(none, cmd); !errors.Is(err, leyline.BadSignature) || !errors.Is(err, leyline.ErrNoSecret) {
			t.Errorf("%s keyring verifies: %v", name, err)
		}
		if err := leyline.SignCommand(none, newCommand(t)); !errors.Is(err, leyline.ErrNoSecret) {
			t.Errorf("%s keyring signs: %v", name, err)
		}
	}
}

func TestCommandNotSerializable(t *testing.T) {
	keys := newKeyring(t, "x")
	cmd := newCommand(t)
	cmd.CommandId = "\xff"
	if err := leyline.SignCommand(keys, cmd); err == nil || cmd.Annotations[leyline.AnnotationSignature] != "" {
		t.Errorf("SignCommand = %v, annotations %v", err, cmd.Annotations)
	}
	cmd.Annotations[leyline.AnnotationSignature] = keys.Sign(nil).String()
	if err := leyline.VerifyCommand(keys, cmd); !errors.Is(err, leyline.BadSignature) {
		t.Errorf("VerifyCommand = %v", err)
	}
}

func TestSignCommandReplacesSignature(t *testing.T) {
	cmd := newCommand(t)
	for _, secret := range []string{"first", "second"} {
		keys := newKeyring(t, secret)
		if err := leyline.SignCommand(keys, cmd); err != nil {
			t.Fatal(err)
		}
		if err := leyline.VerifyCommand(keys, cmd); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
	empty := new(pb.AdaptationCommand)
	if err := leyline.SignCommand(newKeyring(t, "x"), empty); err != nil || len(empty.Annotations) != 1 {
		t.Errorf("command without annotations: %v, %v", err, empty.Annotations)
	}
}

// Both signatures use one secret, as the contract has it, so the signed bytes of
// a command open as an envelope (see the threat model). Strict mode refuses it.
func TestCommandAsEnvelope(t *testing.T) {
	keys := newKeyring(t, goldenSecret)
	codec := newCodec(t, leyline.CodecConfig{Keys: keys})
	for _, v := range readVectors[messageVectors](t, "messages.json").SignedCommands {
		env, err := codec.Open(v.Signed, []byte(v.Signature))
		if err != nil {
			continue
		}
		guard := newGuard(t, leyline.GuardConfig{Mode: leyline.Strict})
		if err := guard.Admissible(env, leyline.Identity{}, "oona.normal", epoch.UnixMilli()); err == nil {
			t.Errorf("%s passes as an envelope of type %v", v.Of, env.Type)
		}
		if msg, err := leyline.Decode(env); err == nil {
			t.Errorf("%s passes as %T", v.Of, msg)
		}
	}
}
