package leyline_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esper-lite/esper/leyline"
)

// writeFile puts text into a file of the test, whole or not at all, and returns
// its path.
func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadSecretFile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "s3cret", "s3cret"},
		{"one newline dropped", "s3cret\n", "s3cret"},
		{"only one", "s3cret\n\n", "s3cret\n"},
		{"nothing else trimmed", " s3cret\t\r\n", " s3cret\t\r"},
		{"newline inside", "a\nb\n", "a\nb"},
		{"comma inside", "a,b", "a,b"},
		{"not text", "\xff\x00\xfe\n", "\xff\x00\xfe"},
		{"no secret: empty", "", ""},
		{"no secret: newline", "\n", ""},
		{"no secret: blank", " \t\r\n\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t, t.TempDir(), "secret", test.text)
			got, err := leyline.ReadSecretFile(path)
			if test.want == "" {
				if !errors.Is(err, leyline.ErrNoSecret) || !strings.Contains(err.Error(), path) {
					t.Errorf("error %v, want %v and the path", err, leyline.ErrNoSecret)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(leyline.NewSecret(test.want)) {
				t.Errorf("not the secret %q", test.want)
			}
		})
	}
}

func TestReadSecretFileFails(t *testing.T) {
	dir := t.TempDir()
	paths := map[string]string{
		"missing":   filepath.Join(dir, "missing"),
		"directory": dir,
		"too large": writeFile(t, dir, "large", strings.Repeat("topsecret", 10_000)),
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		paths["endless"] = "/dev/zero"
	}
	for name, path := range paths {
		for kind, read := range map[string]func(string) error{
			"secret": func(p string) error { _, err := leyline.ReadSecretFile(p); return err },
			"list":   func(p string) error { _, err := leyline.ReadSecretsFile(p); return err },
		} {
			err := read(path)
			if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("%s, %s: %v; want an error with the path and without content", name, kind, err)
			}
		}
	}
	if _, err := leyline.ReadSecretFile(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want it to wrap %v", err, os.ErrNotExist)
	}
}

func TestParseSecrets(t *testing.T) {
	for _, test := range []struct {
		list string
		want []string
	}{
		{"", nil},
		{"\n", nil},
		{",,\n,", nil},
		{"a", []string{"a"}},
		{"a,b", []string{"a", "b"}},
		{"a\nb\n", []string{"a", "b"}},
		{"a,\nb", []string{"a", "b"}},
		{" a, b ", []string{" a", " b "}},
		{"a,a", []string{"a", "a"}},
		{"a\r\nb", []string{"a\r", "b"}},
	} {
		got, err := leyline.ParseSecrets(test.list)
		if err != nil || len(got) != len(test.want) {
			t.Errorf("ParseSecrets(%q) = %d secrets, %v; want %d", test.list, len(got), err, len(test.want))
			continue
		}
		for i := range got {
			if !got[i].Equal(leyline.NewSecret(test.want[i])) {
				t.Errorf("ParseSecrets(%q): secret %d is not %q", test.list, i, test.want[i])
			}
		}
	}
	_, err := leyline.ParseSecrets("topsecret, ,b")
	if err == nil || !strings.Contains(err.Error(), "secret 2") || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("blank item: %v", err)
	}
	path := writeFile(t, t.TempDir(), "list", "topsecret,\t\n")
	if _, err := leyline.ReadSecretsFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("blank item in a file: %v", err)
	}
}

func TestCheckStrength(t *testing.T) {
	strong := leyline.NewSecret(strings.Repeat("x", leyline.MinSecretBytes))
	short := leyline.NewSecret(strings.Repeat("x", leyline.MinSecretBytes-1))
	if err := leyline.CheckStrength(strong, strong); err != nil {
		t.Error(err)
	}
	err := leyline.CheckStrength(strong, short)
	weak, ok := errors.AsType[*leyline.WeakSecretError](err)
	if !ok || weak.Position != 1 || weak.Len != 15 || strings.Contains(err.Error(), "xxx") {
		t.Errorf("%v (%+v)", err, weak)
	}
	if leyline.CheckStrength(leyline.Secret{}) == nil {
		t.Error("no secret is not weak")
	}
}
