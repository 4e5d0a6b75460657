package leyline_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// The ids that Seal makes are UUIDv7 of the time of issue, and unique.
func TestMessageID(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	seen := make(map[string]bool)
	for i, at := range []time.Time{epoch, time.UnixMilli(1), time.UnixMilli(1<<48 - 1), epoch.Add(999 * time.Microsecond)} {
		for range 1000 {
			raw, signature, err := codec.Seal(nil, new(pb.BSDSFailed), leyline.Header{IssuedAt: at})
			if err != nil {
				t.Fatal(err)
			}
			env, err := codec.Open(raw, signature[:])
			if err != nil {
				t.Fatal(err)
			}
			text := env.MessageID()
			id, err := uuid.Parse(text)
			if err != nil || id.String() != text {
				t.Fatalf("%q: %v", text, err)
			}
			if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
				t.Errorf("%s: version %d, variant %v", text, id.Version(), id.Variant())
			}
			var ms int64
			for _, b := range id[:6] {
				ms = ms<<8 | int64(b)
			}
			if ms != at.UnixMilli() {
				t.Fatalf("case %d: %s says %d ms, want %d", i, text, ms, at.UnixMilli())
			}
			if seen[text] {
				t.Fatalf("%s twice", text)
			}
			seen[text] = true
		}
	}
}

func TestMode(t *testing.T) {
	for _, mode := range []leyline.Mode{leyline.Compat, leyline.Strict} {
		text, err := mode.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got leyline.Mode = 7
		if err := got.UnmarshalText(text); err != nil || got != mode || mode.String() != string(text) {
			t.Errorf("%v: text %q, read as %v, %v", mode, text, got, err)
		}
	}
	for _, text := range []string{"", "Strict", "strict ", "lax"} {
		mode := leyline.Strict
		if err := mode.UnmarshalText([]byte(text)); err == nil || mode != leyline.Strict {
			t.Errorf("%q is read as %v, %v", text, mode, err)
		}
	}
}

func TestReasons(t *testing.T) {
	reasons := leyline.Reasons()
	if len(reasons) != 15 {
		t.Errorf("%d reasons, want 15", len(reasons))
	}
	authentic := false
	for _, r := range reasons {
		// Refused ones first, then authentic ones.
		if r == leyline.Malformed {
			authentic = true
		}
		if r.Authentic() != authentic {
			t.Errorf("%s: Authentic = %v", string(r), r.Authentic())
		}
		if leyline.ReasonOf(r) != r || r.Error() != "leyline: "+string(r) {
			t.Errorf("%s: ReasonOf %q, Error %q", string(r), leyline.ReasonOf(r), r.Error())
		}
	}
	reasons[0] = "changed"
	if leyline.Reasons()[0] != leyline.Unsigned {
		t.Error("Reasons returns what it keeps")
	}
	if r := leyline.ReasonOf(nil); r != "" {
		t.Errorf("ReasonOf(nil) = %q", r)
	}
}

func TestMetricPoint(t *testing.T) {
	m := leyline.Metric{Name: "n", Value: 2, Unit: leyline.UnitCount, Attributes: map[string]string{"a": "b"}}
	p := m.Point()
	if p.GetName() != "n" || p.GetValue() != 2 || p.GetUnit() != "count" || p.GetAttributes()["a"] != "b" {
		t.Errorf("Point = %v", p)
	}
}
