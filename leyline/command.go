package leyline

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// AnnotationSignature is the key of the annotation that holds the signature of
// an AdaptationCommand.
const AnnotationSignature = "signature"

// SignCommand signs cmd itself, apart from the envelope that it will travel in
// (contract section 2), and leaves the signature among its annotations; an
// earlier one is replaced. Whatever changes cmd afterwards makes it void. The
// error is [ErrNoSecret] for a keyring without a key, or says that cmd cannot be
// serialized; cmd is then as it was.
func SignCommand(keys *Keyring, cmd *pb.AdaptationCommand) error {
	if keys.empty() {
		return ErrNoSecret
	}
	signed, err := signedCommand(cmd)
	if err != nil {
		return fmt.Errorf("leyline: sign command: %w", err)
	}
	signature := keys.Sign(signed)
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string, 1)
	}
	cmd.Annotations[AnnotationSignature] = signature.String()
	return nil
}

// VerifyCommand checks the signature that cmd carries among its annotations
// against every accepted key. The error is [Unsigned] or is or wraps
// [BadSignature]; a keyring that is nil or has no key refuses everything. It
// says nothing about age or replay: that is for a [Guard], by the command's id
// and issue time.
func VerifyCommand(keys *Keyring, cmd *pb.AdaptationCommand) error {
	if keys.empty() {
		return fmt.Errorf("%w: %w", BadSignature, ErrNoSecret)
	}
	signature := cmd.GetAnnotations()[AnnotationSignature]
	if signature == "" {
		return Unsigned
	}
	signed, err := signedCommand(cmd)
	if err != nil {
		return fmt.Errorf("%w: %w", BadSignature, err)
	}
	return keys.Verify(signed, []byte(signature))
}

// signedCommand returns the bytes that a command's signature is over: cmd
// without that signature, all fields in number order, map keys sorted. They
// are put together field by field because a deterministic marshal of the whole
// puts the members of a oneof last. Nested messages need no such care: the only
// oneof among them is a Struct's Value, which is nothing else.
func signedCommand(cmd *pb.AdaptationCommand) ([]byte, error) {
	m := cmd.ProtoReflect()
	var present []protoreflect.FieldDescriptor
	for fd := range m.Range {
		present = append(present, fd)
	}
	slices.SortFunc(present, func(a, b protoreflect.FieldDescriptor) int {
		return int(a.Number() - b.Number())
	})
	var signed []byte
	var err error
	for _, fd := range present {
		one := m.New()
		if fd.Name() == "annotations" {
			copyAnnotations(one.Mutable(fd).Map(), m.Get(fd).Map())
		} else {
			one.Set(fd, m.Get(fd))
		}
		if signed, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(signed, one.Interface()); err != nil {
			return nil, err
		}
	}
	return append(signed, m.GetUnknown()...), nil
}

func copyAnnotations(dst, src protoreflect.Map) {
	for key, value := range src.Range {
		if key.String() != AnnotationSignature {
			dst.Set(key, value)
		}
	}
}
