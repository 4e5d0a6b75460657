//go:build unix

package urza_test

import (
	"syscall"
	"testing"
)

func makeFifo(t *testing.T, path string) string {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
