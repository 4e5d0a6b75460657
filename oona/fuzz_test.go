package oona_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// FuzzReadStreams: whatever stands on the wire, reading it ends, without a
// panic, and shows nothing that is not there.
func FuzzReadStreams(f *testing.F) {
	for _, seed := range []string{
		"*-1\r\n", "_\r\n", "*0\r\n",
		"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*4\r\n$7\r\npayload\r\n$1\r\nx\r\n$9\r\nsignature\r\n$1\r\ny\r\n",
		"%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$9\r\nbootstrap\r\n$1\r\n1\r\n",
		"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*-1\r\n",
		"*1\r\n*2\r\n$99999999999999999999\r\n",
		"-NOGROUP no such group\r\n", "!7\r\nNOGROUP\r\n", "!",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		ids, payloads, _ := oona.ReadStreams(reply)
		for _, s := range append(ids, payloads...) {
			if !strings.Contains(string(reply), s) {
				t.Errorf("%q is not in the reply", s)
			}
		}
	})
}

func TestReadStreams(t *testing.T) {
	const entries = "*2\r\n" +
		"*2\r\n$3\r\n1-0\r\n*4\r\n$7\r\npayload\r\n$3\r\na\r\n\r\n$9\r\nsignature\r\n$0\r\n\r\n" +
		"*2\r\n$3\r\n2-0\r\n*2\r\n$9\r\nbootstrap\r\n$1\r\n1\r\n"
	for name, reply := range map[string]string{
		"RESP2": "*1\r\n*2\r\n$1\r\ns\r\n" + entries,
		"RESP3": "%1\r\n$1\r\ns\r\n" + entries,
	} {
		ids, payloads, err := oona.ReadStreams([]byte(reply))
		if err != nil || strings.Join(ids, " ") != "1-0 2-0" || strings.Join(payloads, "|") != "a\r\n|" {
			t.Errorf("%s: %q, %q, %v", name, ids, payloads, err)
		}
		for i := range reply {
			if _, _, err := oona.ReadStreams([]byte(reply[:i])); err == nil {
				t.Errorf("%s: half of it passes: %q", name, reply[:i])
			}
		}
	}
	for _, nothing := range []string{"_\r\n", "*-1\r\n"} { // no entry came in time
		if ids, _, err := oona.ReadStreams([]byte(nothing)); len(ids) > 0 || err != nil {
			t.Errorf("%q: %q, %v", nothing, ids, err)
		}
	}
}

// TestReadIsRefused: an error reply is an error of Redis, with the server's words.
func TestReadIsRefused(t *testing.T) {
	const text = "READONLY You can't write against a read only replica."
	for _, reply := range []string{"-" + text + "\r\n", fmt.Sprintf("!%d\r\n%s\r\n", len(text), text)} {
		_, _, err := oona.ReadStreams([]byte(reply))
		if refused, ok := errors.AsType[redis.Error](err); !ok || refused.Error() != text {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

func FuzzParseEntryID(f *testing.F) {
	for _, seed := range []string{"1-0", "1", "18446744073709551615-18446744073709551615", "-", "1-", "+1-1", "1-1-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := oona.ParseEntryID(s)
		if err != nil {
			return
		}
		again, err := oona.ParseEntryID(id.String())
		if err != nil || again != id || id.Compare(again) != 0 {
			t.Errorf("%q is %v, which is %v, %v", s, id, again, err)
		}
	})
}

// FuzzFailures: a record of failures that we cannot read is as good as none, and
// one that we wrote is read as it was.
func FuzzFailures(f *testing.F) {
	f.Add("3 0 1700000000000 1700000000001 no kernel today")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		record := oona.RewriteFailures(s)
		if again := oona.RewriteFailures(record); again != record {
			t.Errorf("%q is read as %q", record, again)
		}
	})
}
