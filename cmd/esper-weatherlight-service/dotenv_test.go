package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDotenvErrors name the file and the line, and show nothing of what is in it.
func TestDotenvErrors(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
	}{
		{"garbage", "A=1\n\n# a comment\nhunter2 is it\nB=2\n", " line 4 is not NAME=value"},
		{"garbage at once", "hunter2!", " line 1 is not NAME=value"},
		{"garbage at the end", "A=1\nB=2\nhunter2?", " line 3 is not NAME=value"},
		{"garbage after a long value", "A=\"1\n2\n3\"\nB=2\n$hunter2\n", " line 5 is not NAME=value"},
		{"open quote", "A=1\nESPER_LEYLINE_SECRET='hunter2\nB=2\n", " line 2 has a quote that is not closed"},
		{"no name", "A=1\n=hunter2\nB=2\n", " line 2 is not NAME=value"},
		{"carriage returns", "A=1\r\nhunter2 is it\r\nB=2\r\n", " line 2 is not NAME=value"},
		{"long", "A=1\nB=\"hunter2\n" + strings.Repeat(strings.Repeat("x", 100)+"\n", 20_000), " line 2 has a quote that is not closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile(".env", []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Abs(".env")
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = loadSettings(nil)
			code, text := exitCode(err)
			if code != exitUsage || text != path+test.want {
				t.Errorf("exit code %d: %s, want %s", code, text, path+test.want)
			}
		})
	}
}

// TestDotenvThatIsNoFile is an error that names it; without one all is well.
func TestDotenvThatIsNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, _, err := loadSettings(nil); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(".env", 0o700); err != nil {
		t.Fatal(err)
	}
	_, _, err := loadSettings(nil)
	if code, text := exitCode(err); code != exitUsage || !strings.Contains(text, "/.env: is a directory") {
		t.Errorf("exit code %d: %s", code, text)
	}
}
