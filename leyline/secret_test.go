package leyline_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/esper-lite/esper/leyline"
)

const marker = "hunter2-hunter2-hunter2"

// leaks reports whether text shows the marker, in any spelling that fmt and the
// encoders know.
func leaks(text string) bool {
	text = strings.ToLower(text)
	for _, spelling := range []string{
		marker,
		fmt.Sprintf("%x", marker),
		fmt.Sprintf("% x", marker),
		strings.Trim(fmt.Sprint([]byte(marker)), "[]"),
		strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(marker)), " ", ","), "[]"),
		"ahvudgvymi", // base64
	} {
		if strings.Contains(text, spelling) {
			return true
		}
	}
	return false
}

// holders are the ways in which programs happen to hold a secret when they
// print something.
func holders(t *testing.T) map[string]any {
	t.Helper()
	secret := leyline.NewSecret(marker)
	keys, err := leyline.NewKeyring(secret, leyline.NewSecret("other"), secret)
	if err != nil {
		t.Fatal(err)
	}
	keys.Sign([]byte("x")) // so that there is a MAC state to print
	codec := newCodec(t, leyline.CodecConfig{Keys: keys})
	files, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{Signing: secret, Accepted: []leyline.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		Name   string
		Secret leyline.Secret
		List   []leyline.Secret
		hidden leyline.Secret
		nested struct{ deep *leyline.Secret }
		byName map[string]leyline.Secret
	}
	c := config{Name: "n", Secret: secret, List: []leyline.Secret{secret}, hidden: secret, byName: map[string]leyline.Secret{"k": secret}}
	c.nested.deep = &secret
	return map[string]any{
		"secret": secret, "pointer": &secret, "slice": []leyline.Secret{secret}, "array": [1]leyline.Secret{secret},
		"map": map[string]leyline.Secret{"k": secret}, "interface": []any{secret, &secret},
		"struct": c, "pointer to struct": &c, "unexported in unexported": struct{ c config }{c},
		"keyring": keys, "keyring value": struct{ k *leyline.Keyring }{keys},
		"codec": codec, "codec value": struct{ c *leyline.Codec }{codec},
		"codec config": leyline.CodecConfig{Keys: keys}, "files": files,
		"files config": leyline.KeyFilesConfig{Signing: secret, Accepted: []leyline.Secret{secret}},
		"error":        leyline.CheckStrength(leyline.NewSecret("hunter2")),
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	for name, v := range holders(t) {
		for _, flags := range []string{"", "+", "#", " ", "-", "0", "12", ".3", "+#"} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGsp!" {
				if verb == 'T' || verb == 'p' {
					continue // types and addresses
				}
				format := "%" + flags + string(verb)
				if got := fmt.Sprintf(format, v); leaks(got) {
					t.Errorf("%s with %s: %s", name, format, got)
				}
			}
		}
		if got := fmt.Sprint(v) + fmt.Sprintln(v); leaks(got) {
			t.Errorf("%s with Sprint: %s", name, got)
		}
		if err := fmt.Errorf("failed: %w %v", fmt.Errorf("%v", v), v); leaks(err.Error()) {
			t.Errorf("%s in an error: %v", name, err)
		}
	}
}

func TestSecretsDoNotMarshal(t *testing.T) {
	for name, v := range holders(t) {
		if got, err := json.Marshal(v); err == nil && leaks(string(got)) {
			t.Errorf("%s as JSON: %s", name, got)
		}
		if got, err := xml.Marshal(v); err == nil && leaks(string(got)) {
			t.Errorf("%s as XML: %s", name, got)
		}
		if m, ok := v.(encoding.TextMarshaler); ok {
			if got, err := m.MarshalText(); err != nil || leaks(string(got)) {
				t.Errorf("%s as text: %s, %v", name, got, err)
			}
		}
	}
	if got, err := json.Marshal(map[string]any{"secret": leyline.NewSecret(marker)}); err != nil || string(got) != `{"secret":"[secret]"}` {
		t.Errorf("JSON = %s, %v", got, err)
	}
}

func TestSecretsDoNotLog(t *testing.T) {
	for name, v := range holders(t) {
		var out bytes.Buffer
		for _, handler := range []slog.Handler{
			slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
			leyline.NewLogLimiter(slog.NewTextHandler(&out, nil), leyline.LogLimit{}),
		} {
			log := slog.New(handler)
			log.Info("hello", "value", v, slog.Group("group", "value", v))
			log.With("value", v).WithGroup("g").Error(fmt.Sprint(v), slog.Any("again", v))
		}
		if leaks(out.String()) {
			t.Errorf("%s:\n%s", name, out.String())
		}
	}
}

func TestSecret(t *testing.T) {
	bytes := []byte(marker)
	secret := leyline.NewSecret(bytes)
	bytes[0] = 'X'
	if !secret.Equal(leyline.NewSecret(marker)) {
		t.Error("NewSecret did not copy the key")
	}
	var zero leyline.Secret
	for _, test := range []struct {
		secret             leyline.Secret
		len                int
		zero, weak, blank_ bool
	}{
		{zero, 0, true, true, true},
		{leyline.NewSecret(""), 0, true, true, true},
		{leyline.NewSecret(" \t\n"), 3, false, true, true},
		{leyline.NewSecret("fifteen bytes.."), 15, false, true, false},
		{leyline.NewSecret("sixteen bytes..."), 16, false, false, false},
	} {
		s := test.secret
		if s.Len() != test.len || s.IsZero() != test.zero || s.Weak() != test.weak || s.Blank() != test.blank_ {
			t.Errorf("secret of %d bytes: Len %d, IsZero %v, Weak %v, Blank %v", test.len, s.Len(), s.IsZero(), s.Weak(), s.Blank())
		}
		if s.Equal(secret) || secret.Equal(s) || !s.Equal(s) {
			t.Errorf("secret of %d bytes: Equal is wrong", test.len)
		}
	}
	if secret.String() != "[secret]" || secret.GoString() != "[secret]" || secret.LogValue().String() != "[secret]" {
		t.Errorf("shows as %s, %s, %s", secret.String(), secret.GoString(), secret.LogValue())
	}
	var read leyline.Secret
	if err := json.Unmarshal([]byte(`"`+marker+`"`), &read); err != nil || !read.Equal(secret) {
		t.Errorf("a secret cannot be read from JSON: %v", err)
	}
	if err := read.UnmarshalText(nil); err != nil || !read.IsZero() {
		t.Errorf("empty text: %v", err)
	}
}
