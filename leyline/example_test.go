package leyline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// A message on its way: sealed by a producer, opened and judged by a consumer.
func Example() {
	secret := leyline.NewSecret("a secret of at least 16 bytes")
	keys, err := leyline.NewKeyring(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "trainer/host-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	guard, err := leyline.NewGuard(leyline.GuardConfig{Mode: leyline.Strict, Store: leyline.NewMemoryStore(65536)})
	if err != nil {
		fmt.Println(err)
		return
	}

	const stream = "oona.kernels.requests"
	payload, signature, err := codec.Seal(nil, &pb.KernelPrefetchRequest{
		RequestId: "req-1", BlueprintId: "BP001", IssuedAt: timestamppb.Now(),
	}, leyline.Header{Audience: stream})
	if err != nil {
		fmt.Println(err)
		return
	}

	receive := func(payload []byte, signature, entryID string) error {
		env, err := codec.Open(payload, []byte(signature))
		if err != nil {
			return err
		}
		msg, err := leyline.Decode(env)
		if err != nil {
			return err
		}
		id, err := leyline.IdentityOf(env, msg)
		if err != nil {
			return err
		}
		now := time.Now()
		if err := guard.Admissible(env, id, stream, now.UnixMilli()); err != nil {
			return err
		}
		verdict, err := guard.Admit(context.Background(), leyline.Claim{
			Nonce: id.Nonce, Holder: entryID, IssuedAt: time.UnixMilli(id.IssuedAtMs), Arrival: now,
		})
		if err != nil {
			return err
		}
		request := msg.(*pb.KernelPrefetchRequest)
		fmt.Println("handled:", request.GetBlueprintId(), "resumed:", verdict == leyline.Resumed)
		return nil
	}
	fmt.Println(receive(payload, signature.String(), "1-0"))
	fmt.Println(receive(payload, signature.String(), "1-0")) // a retry of the same entry
	fmt.Println(receive(payload, signature.String(), "2-0")) // a recording, added again
	payload[30] ^= 1
	fmt.Println(receive(payload, signature.String(), "3-0"))
	// Output:
	// handled: BP001 resumed: false
	// <nil>
	// handled: BP001 resumed: true
	// <nil>
	// leyline: replayed
	// leyline: bad_signature
}

func ExampleGuard_Admit() {
	guard, err := leyline.NewGuard(leyline.GuardConfig{Store: leyline.NewMemoryStore(65536)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, issued := range []time.Time{time.Now(), time.Now(), time.Now().Add(-2 * time.Minute), {}} {
		_, err := guard.Admit(context.Background(), leyline.Claim{Nonce: "order-17", IssuedAt: issued})
		switch {
		case err == nil:
			fmt.Println("act on it")
		case errors.Is(err, leyline.ErrStoreFull), errors.Is(err, leyline.ErrStoreUnavailable):
			fmt.Println("try again later")
		default:
			fmt.Println("refuse it:", string(leyline.ReasonOf(err)))
		}
	}
	// Output:
	// act on it
	// refuse it: replayed
	// refuse it: stale
	// refuse it: stale
}

func ExampleGuard_CheckFresh() {
	guard, err := leyline.NewGuard(leyline.GuardConfig{Window: time.Minute, ClockSkew: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	const arrival = 1_758_801_600_000
	fmt.Println(guard.CheckFresh(arrival-60_000, arrival))
	fmt.Println(guard.CheckFresh(arrival-60_001, arrival))
	fmt.Println(guard.CheckFresh(arrival+5_001, arrival))
	// Output:
	// <nil>
	// leyline: stale
	// leyline: future
}

// A fleet changes its key in three steps.
func ExampleKeyring_Rotate() {
	before, after := leyline.NewSecret("the secret used so far"), leyline.NewSecret("the secret from now on")
	keys, err := leyline.NewKeyring(before)
	if err != nil {
		fmt.Println(err)
		return
	}
	message := []byte("message")
	recorded := keys.Sign(message)
	for _, step := range []struct {
		what     string
		signing  leyline.Secret
		accepted []leyline.Secret
	}{
		{"accept the new one everywhere", before, []leyline.Secret{after}},
		{"sign with it", after, []leyline.Secret{before}},
		{"drop the old one", after, nil},
	} {
		if err := keys.Rotate(step.signing, step.accepted...); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: signed before: %v\n", step.what, keys.Verify(message, recorded[:]))
	}
	// Output:
	// accept the new one everywhere: signed before: <nil>
	// sign with it: signed before: <nil>
	// drop the old one: signed before: leyline: bad_signature
}

// Keys from files are read again when the program says so: on SIGHUP, say, and
// every minute.
func ExampleKeyFiles() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	signing, accepted := filepath.Join(dir, "secret"), filepath.Join(dir, "accepted")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			fmt.Println(err)
		}
	}
	write(signing, "the secret used so far\n")
	write(accepted, "")
	files, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{SigningFile: signing, AcceptedFile: accepted})
	if err != nil {
		fmt.Println(err)
		return
	}
	keys := files.Keyring() // for a Codec, for good
	fmt.Println(keys.Len())

	write(accepted, "the secret from now on\n")
	fmt.Println(files.Reload())
	fmt.Println(keys.Len())

	write(signing, "") // somebody makes a mistake
	_, err = files.Reload()
	fmt.Println(errors.Is(err, leyline.ErrNoSecret), keys.Len())
	// Output:
	// 1
	// true <nil>
	// 2
	// true 2
}

func ExampleSecret() {
	secret := leyline.NewSecret("hunter2")
	fmt.Printf("%v %q %+v %d\n", secret, secret, struct{ s leyline.Secret }{secret}.s, secret)
	fmt.Println(leyline.CheckStrength(secret))
	// Output:
	// [secret] [secret] [secret] [secret]
	// leyline: secret 1 has 7 bytes, fewer than 16
}

func ExampleParseSecrets() {
	secrets, err := leyline.ParseSecrets("one,two\nthree\n")
	fmt.Println(len(secrets), secrets[0].Len(), err)
	_, err = leyline.ParseSecrets("one, ,three")
	fmt.Println(err)
	// Output:
	// 3 3 <nil>
	// leyline: secret 2 of the list is blank
}

func ExampleReadSecretFile() {
	_, err := leyline.ReadSecretFile("/etc/esper/secret-that-is-not-there")
	fmt.Println(err)
	// Output:
	// leyline: secret file: open /etc/esper/secret-that-is-not-there: no such file or directory
}

func ExampleSignCommand() {
	keys, err := leyline.NewKeyring(leyline.NewSecret("a secret of at least 16 bytes"))
	if err != nil {
		fmt.Println(err)
		return
	}
	command := &pb.AdaptationCommand{
		CommandId: "cmd-1", CommandType: pb.CommandType_COMMAND_PAUSE, IssuedAt: timestamppb.Now(),
	}
	fmt.Println(leyline.VerifyCommand(keys, command))
	if err := leyline.SignCommand(keys, command); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(leyline.VerifyCommand(keys, command))
	command.CommandType = pb.CommandType_COMMAND_EMERGENCY
	fmt.Println(leyline.VerifyCommand(keys, command))
	// Output:
	// leyline: unsigned
	// <nil>
	// leyline: bad_signature
}

func ExampleRefusals() {
	var refusals leyline.Refusals
	const request = pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST
	refusals.Count("oona.kernels.requests", request, leyline.Replayed)
	refusals.Count("oona.kernels.requests", request, leyline.Malformed)
	refusals.Add("oona.normal", 0, leyline.BadSignature, 10_000)
	for _, m := range refusals.AppendMetrics(nil) {
		fmt.Println(m.Name, m.Value, m.Attributes["stream"], m.Attributes["type"])
	}
	// Output:
	// oona.refused.replayed 1 oona.kernels.requests KERNEL_PREFETCH_REQUEST
	// oona.dead_lettered.malformed 1 oona.kernels.requests KERNEL_PREFETCH_REQUEST
	// oona.refused.bad_signature 10000 oona.normal UNSPECIFIED
}

func ExampleLogLimiter() {
	text := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	limiter := leyline.NewLogLimiter(text, leyline.LogLimit{Records: 2, Interval: time.Minute})
	log := slog.New(limiter)
	for range 10_000 {
		log.Warn("message refused", "reason", "unsigned")
	}
	limiter.Flush() // when the program ends
	// Output:
	// level=WARN msg="message refused" reason=unsigned
	// level=WARN msg="message refused" reason=unsigned
	// level=WARN msg="log records suppressed" message="message refused" count=9998 interval=1m0s
}

func ExampleMemoryStore() {
	store := leyline.NewMemoryStore(2)
	issued := time.Now()
	for _, nonce := range []string{"a", "b", "a", "c"} {
		verdict, err := store.Claim(context.Background(), leyline.Claim{Nonce: nonce, Arrival: issued}, issued.Add(time.Minute))
		fmt.Println(nonce, verdict == leyline.Fresh, err)
	}
	// Output:
	// a true <nil>
	// b true <nil>
	// a false leyline: replayed
	// c false leyline: replay store is full
}

func ExampleCodec_Open() {
	keys, err := leyline.NewKeyring(leyline.NewSecret("a secret of at least 16 bytes"))
	if err != nil {
		fmt.Println(err)
		return
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	payload, signature, err := codec.Seal(nil, &pb.BSDSFailed{BlueprintId: "BP001"}, leyline.Header{
		Audience: "oona.normal", Extra: map[string]string{"origin": "urabrask"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	env, err := codec.Open(payload, signature[:])
	if err != nil {
		fmt.Println(err)
		return
	}
	origin, _ := env.Attribute("origin")
	fmt.Println(env.Type, env.Audience(), origin)
	_, err = codec.Open(payload, nil)
	fmt.Println(string(leyline.ReasonOf(err)))
	// Output:
	// BUS_MESSAGE_TYPE_BSDS_FAILED oona.normal urabrask
	// unsigned
}
