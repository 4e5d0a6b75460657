package kasmina_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/esper-lite/esper/kasmina"
)

func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

// writeArtifact writes a file and returns how the library would answer for it.
func writeArtifact(t testing.TB, dir, name, content string) kasmina.Artifact {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return kasmina.Artifact{BlueprintID: name, Ref: path, Checksum: sum(content)}
}

func TestFileRuntime(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("kernel", 500_000) // several chunks
	for name, content := range map[string]string{"short": "x", "empty": "", "long": long} {
		a := writeArtifact(t, dir, name, content)
		p, err := kasmina.FileRuntime{}.Load(t.Context(), a)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f := p.(*kasmina.File)
		got, err := io.ReadAll(f.Reader())
		if err != nil || string(got) != content || string(f.Bytes()) != content || f.Size() != int64(len(content)) {
			t.Errorf("%s: read %d bytes (size %d), %v; want %d", name, len(got), f.Size(), err, len(content))
		}
	}
}

func TestFileRuntimeRefuses(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	good := writeArtifact(t, dir, "good", "content")
	secret := writeArtifact(t, outside, "secret", "content")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(secret.Ref, link); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*kasmina.Artifact)) kasmina.Artifact {
		a := good
		change(&a)
		return a
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name    string
		runtime kasmina.FileRuntime
		ctx     context.Context
		a       kasmina.Artifact
		want    error // nil for any error
	}{
		{"no checksum", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Checksum = "" }), kasmina.ErrChecksum},
		{"short checksum", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Checksum = a.Checksum[:62] }), kasmina.ErrChecksum},
		{"other checksum", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Checksum = checksum }), kasmina.ErrChecksum},
		{"no file", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Ref += "x" }), fs.ErrNotExist},
		{"directory", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Ref = dir }), nil},
		{"pipe", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Ref = pipe }), nil},
		{"device", kasmina.FileRuntime{}, nil, with(func(a *kasmina.Artifact) { a.Ref = "/dev/zero" }), nil},
		{"too large", kasmina.FileRuntime{MaxBytes: 6}, nil, good, kasmina.ErrTooLarge},
		{"cancelled", kasmina.FileRuntime{}, cancelled, good, context.Canceled},
		{"outside the root", kasmina.FileRuntime{Root: dir}, nil, secret, fs.ErrPermission},
		{"link out of the root", kasmina.FileRuntime{Root: dir}, nil, with(func(a *kasmina.Artifact) { a.Ref = link }), nil},
		{"dots out of the root", kasmina.FileRuntime{Root: dir}, nil, with(func(a *kasmina.Artifact) { a.Ref = dir + "/../" + filepath.Base(outside) + "/secret" }), nil},
		{"no root", kasmina.FileRuntime{Root: dir + "/none"}, nil, good, fs.ErrNotExist},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if test.ctx != nil {
				ctx = test.ctx
			}
			p, err := test.runtime.Load(ctx, test.a)
			if p != nil || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Load = %v, %v; want %v", p, err, test.want)
			}
			if test.want == nil && err != nil && strings.Contains(err.Error(), "mismatch") {
				t.Errorf("was read: %v", err)
			}
		})
	}
	for _, root := range []string{dir, "/"} {
		if _, err := (kasmina.FileRuntime{Root: root, MaxBytes: 7}).Load(t.Context(), good); err != nil {
			t.Errorf("inside of root %s: %v", root, err)
		}
	}
}

// What was verified is what is given out, whatever happens to the file.
func TestFileRuntimeKeepsWhatItVerified(t *testing.T) {
	a := writeArtifact(t, t.TempDir(), "kernel", "verified")
	p, err := kasmina.FileRuntime{}.Load(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Ref, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := string(p.(*kasmina.File).Bytes()); got != "verified" {
		t.Errorf("content is %q", got)
	}
}
