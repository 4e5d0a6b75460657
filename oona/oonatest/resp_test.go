package oonatest_test

import (
	"testing"

	"github.com/esper-lite/esper/oona/oonatest"
)

func TestReply(t *testing.T) {
	for _, whole := range []string{
		"+OK\r\n", "-ERR no\r\n", ":12\r\n", "$-1\r\n", "$0\r\n\r\n", "$3\r\na\r\n\r\n", "*-1\r\n", "*0\r\n",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n#t\r\n", "_\r\n", "(123\r\n", ",1.5\r\n", "~1\r\n+a\r\n", ">2\r\n+a\r\n+b\r\n", "=5\r\ntxt:a\r\n",
	} {
		if n, ok := oonatest.Reply([]byte(whole + "+next\r\n")); !ok || n != len(whole) {
			t.Errorf("%q: %d, %t; want %d", whole, n, ok, len(whole))
		}
		for i := range whole {
			if n, ok := oonatest.Reply([]byte(whole[:i])); ok {
				t.Errorf("%q is taken for whole: %d", whole[:i], n)
			}
		}
	}
}

func TestCommand(t *testing.T) {
	n, name := oonatest.Command([]byte("*2\r\n$4\r\nxlen\r\n$1\r\na\r\n*1\r\n"))
	if n != 21 || name != "XLEN" {
		t.Errorf("%d, %q", n, name)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n*1\r\n:1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := oonatest.Reply(b); ok && (n < 3 || n > len(b)) {
			t.Errorf("%d of %d bytes", n, len(b))
		}
	})
}
