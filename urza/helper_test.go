package urza_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/urza"
)

func unmarshal(t testing.TB, text []byte, into proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	wire, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// stat returns the modification time of an artifact at a path as a row has it.
func stat(t testing.TB, l *urza.Library, path string) time.Time {
	t.Helper()
	info, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(l.Root())), path))
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
