package oona_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/esper-lite/esper/oona"
)

// A reply is taken in whole, however much room was expected and however it comes
// in; one that breaks off is an error, and nothing is made up behind its end.
func TestReplyIsTakenInWhole(t *testing.T) {
	const head, text = "$10\r\n", "0123456789"
	for name, room := range map[string]int{"first": 0, "larger": 8, "much larger": 1 << 10} {
		for kind, src := range map[string]io.Reader{
			"at once": strings.NewReader(text + "more"), "byte by byte": iotest.OneByteReader(strings.NewReader(text + "more")),
		} {
			got, err := oona.CopyReply(room, head, src, int64(len(text)))
			if got != head+text || err != nil {
				t.Errorf("%s, %s: %q, %v", name, kind, got, err)
			}
		}
		got, err := oona.CopyReply(room, head, strings.NewReader(text[:4]), int64(len(text)))
		if got != head+text[:4] || !errors.Is(err, io.EOF) {
			t.Errorf("%s, broken off: %q, %v", name, got, err)
		}
	}
}
