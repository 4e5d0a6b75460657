package leyline_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// goldenSecret signed everything in testdata/vectors, which the Python
// implementation wrote.
const goldenSecret = "golden-secret"

// hexBytes is a byte string that stands in hex in the vectors.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type messageVector struct {
	Name       string            `json:"name"`
	Stream     string            `json:"stream"`
	TypeNumber int32             `json:"bus_message_type_number"`
	Fields     json.RawMessage   `json:"fields"`
	Payload    hexBytes          `json:"payload_hex"`
	Attributes map[string]string `json:"envelope_attributes"`
	Envelope   hexBytes          `json:"envelope_hex"`
	Signature  string            `json:"signature_b64"`
}

type commandVector struct {
	Of        string   `json:"of"`
	Signed    hexBytes `json:"signed_bytes_hex"`
	Signature string   `json:"signature_annotation"`
	Command   hexBytes `json:"command_hex"`
}

type messageVectors struct {
	Messages       []messageVector `json:"messages"`
	SignedCommands []commandVector `json:"signed_commands"`
}

type entryVectors struct {
	NowMs int64 `json:"now_ms"`
	Cases []struct {
		Name    string        `json:"name"`
		Entries []entryVector `json:"entries"`
		Want    []string      `json:"want"`
		Handler string        `json:"handler"`
	} `json:"cases"`
}

type entryVector struct {
	Stream      string         `json:"stream"`
	Payload     *hexBytes      `json:"payload_hex"`
	Signature   hexBytes       `json:"signature_hex"`
	OtherFields map[string]any `json:"other_fields"`
}

func readVectors[T any](t testing.TB, name string) T {
	t.Helper()
	var v T
	raw, err := os.ReadFile("testdata/vectors/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// message returns the message whose field values the vector lists.
func (v messageVector) message(t testing.TB) proto.Message {
	t.Helper()
	msg, ok := leyline.New(pb.BusMessageType(v.TypeNumber))
	if !ok {
		t.Fatalf("no message for type %d", v.TypeNumber)
	}
	if err := protojson.Unmarshal(v.Fields, msg); err != nil {
		t.Fatal(err)
	}
	return msg
}

func newKeyring(t testing.TB, signing string, accepted ...string) *leyline.Keyring {
	t.Helper()
	var others []leyline.Secret
	for _, a := range accepted {
		others = append(others, leyline.NewSecret(a))
	}
	keys, err := leyline.NewKeyring(leyline.NewSecret(signing), others...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newCodec(t testing.TB, cfg leyline.CodecConfig) *leyline.Codec {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = newKeyring(t, goldenSecret)
	}
	codec, err := leyline.NewCodec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}
