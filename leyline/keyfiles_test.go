package leyline_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esper-lite/esper/leyline"
)

const (
	oldSecret = "the old secret of good length"
	newSecret = "the new secret of good length"
)

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	signing := writeFile(t, dir, "signing", oldSecret+"\n")
	accepted := writeFile(t, dir, "accepted", "")
	files, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{SigningFile: signing, AcceptedFile: accepted, Mode: leyline.Strict})
	if err != nil {
		t.Fatal(err)
	}
	keys := files.Keyring()
	reload := func(want bool) {
		t.Helper()
		changed, err := files.Reload()
		if err != nil || changed != want {
			t.Errorf("Reload = %v, %v; want %v", changed, err, want)
		}
		if files.Keyring() != keys {
			t.Error("Reload made another keyring")
		}
	}
	message := []byte("message")
	verifies := func(secret string, want bool) {
		t.Helper()
		signature := newKeyring(t, secret).Sign(message)
		if err := keys.Verify(message, signature[:]); (err == nil) != want {
			t.Errorf("signature of %q: %v", secret, err)
		}
	}
	reload(false)
	verifies(oldSecret, true)
	verifies(newSecret, false)

	writeFile(t, dir, "accepted", newSecret+"\n")
	reload(true)
	reload(false)
	verifies(oldSecret, true)
	verifies(newSecret, true)
	if keys.Sign(message) != newKeyring(t, oldSecret).Sign(message) {
		t.Error("signs with the new key too early")
	}

	writeFile(t, dir, "signing", newSecret)
	writeFile(t, dir, "accepted", oldSecret)
	reload(true)
	verifies(oldSecret, true)
	if keys.Sign(message) != newKeyring(t, newSecret).Sign(message) {
		t.Error("does not sign with the new key")
	}

	writeFile(t, dir, "accepted", "")
	reload(true)
	verifies(oldSecret, false)
	verifies(newSecret, true)
	if files.Weak() != nil {
		t.Error(files.Weak())
	}
}

// Whatever happens to the files, the keys that were good stay in use.
func TestKeyFilesKeepKeys(t *testing.T) {
	dir := t.TempDir()
	signing := writeFile(t, dir, "signing", oldSecret)
	accepted := writeFile(t, dir, "accepted", newSecret)
	files, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{SigningFile: signing, AcceptedFile: accepted, Mode: leyline.Strict})
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	want := files.Keyring().Sign(message)
	for _, test := range []struct {
		name     string
		breakIt  func()
		wantsErr error
	}{
		{"signing empty", func() { writeFile(t, dir, "signing", "") }, leyline.ErrNoSecret},
		{"signing blank", func() { writeFile(t, dir, "signing", " \n") }, leyline.ErrNoSecret},
		{"signing weak", func() { writeFile(t, dir, "signing", "short") }, nil},
		{"signing gone", func() { os.Remove(signing) }, os.ErrNotExist},
		{"accepted blank", func() { writeFile(t, dir, "accepted", " ,") }, nil},
		{"accepted weak", func() { writeFile(t, dir, "accepted", newSecret+",short") }, nil},
		{"accepted gone", func() { os.Remove(accepted) }, os.ErrNotExist},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.breakIt()
			changed, err := files.Reload()
			if err == nil || changed {
				t.Errorf("Reload = %v, %v; want an error", changed, err)
			}
			if test.wantsErr != nil && !errors.Is(err, test.wantsErr) {
				t.Errorf("error %v, want %v", err, test.wantsErr)
			}
			if strings.Contains(err.Error(), "good length") {
				t.Errorf("error shows a secret: %v", err)
			}
			if files.Keyring().Sign(message) != want || files.Keyring().Len() != 2 {
				t.Error("the keys changed")
			}
			writeFile(t, dir, "signing", oldSecret)
			writeFile(t, dir, "accepted", newSecret)
			if changed, err := files.Reload(); changed || err != nil {
				t.Errorf("mended: Reload = %v, %v", changed, err)
			}
		})
	}
}

func TestOpenKeyFiles(t *testing.T) {
	path := writeFile(t, t.TempDir(), "file", oldSecret)
	strong, weak := leyline.NewSecret(oldSecret), leyline.NewSecret("weak")
	for name, test := range map[string]struct {
		cfg  leyline.KeyFilesConfig
		want error
	}{
		"nothing":        {leyline.KeyFilesConfig{}, leyline.ErrNoSecret},
		"blank":          {leyline.KeyFilesConfig{Signing: leyline.NewSecret(" \n")}, leyline.ErrNoSecret},
		"only accepted":  {leyline.KeyFilesConfig{Accepted: []leyline.Secret{strong}}, leyline.ErrNoSecret},
		"missing":        {leyline.KeyFilesConfig{SigningFile: path + "x"}, os.ErrNotExist},
		"missing list":   {leyline.KeyFilesConfig{Signing: strong, AcceptedFile: path + "x"}, os.ErrNotExist},
		"two of signing": {leyline.KeyFilesConfig{Signing: strong, SigningFile: path}, nil},
		"two of list":    {leyline.KeyFilesConfig{Signing: strong, Accepted: []leyline.Secret{strong}, AcceptedFile: path}, nil},
		"weak, strict":   {leyline.KeyFilesConfig{Signing: weak, Mode: leyline.Strict}, nil},
	} {
		_, err := leyline.OpenKeyFiles(test.cfg)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, ok := errors.AsType[*leyline.WeakSecretError](err); ok != (name == "weak, strict") {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{Signing: weak, Accepted: []leyline.Secret{strong}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*leyline.WeakSecretError](files.Weak()); !ok {
		t.Errorf("Weak = %v", files.Weak())
	}
	if changed, err := files.Reload(); changed || err != nil {
		t.Errorf("Reload of keys without files = %v, %v", changed, err)
	}
}

// A program that does not need the accepted secrets opens without them, and takes
// them up when they are there.
func TestAcceptedOptional(t *testing.T) {
	dir := t.TempDir()
	cfg := leyline.KeyFilesConfig{
		SigningFile: writeFile(t, dir, "signing", newSecret), AcceptedFile: filepath.Join(dir, "accepted"), Mode: leyline.Strict,
	}
	if _, err := leyline.OpenKeyFiles(cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened without a file that is not optional: %v", err)
	}
	cfg.AcceptedOptional = true
	files, err := leyline.OpenKeyFiles(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Reload(); !errors.Is(err, fs.ErrNotExist) || files.Keyring().Len() != 1 {
		t.Errorf("%d keys, %v; want the one that signs, and why not the others", files.Keyring().Len(), err)
	}
	writeFile(t, dir, "accepted", oldSecret)
	if changed, err := files.Reload(); !changed || err != nil || files.Keyring().Len() != 2 {
		t.Errorf("%d keys, %v, %v; want both", files.Keyring().Len(), changed, err)
	}
	cfg.SigningFile = filepath.Join(dir, "nowhere")
	if _, err := leyline.OpenKeyFiles(cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened without the secret that signs: %v", err)
	}
}
