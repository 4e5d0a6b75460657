package leyline_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// benchEntry returns a kernel request sealed with all of our attributes.
func benchEntry(b *testing.B) (*leyline.Codec, []byte, leyline.Signature) {
	b.Helper()
	codec := newCodec(b, leyline.CodecConfig{Source: "trainer/host-1"})
	raw, signature, err := codec.Seal(nil, newRequest(), fullHeader)
	if err != nil {
		b.Fatal(err)
	}
	return codec, raw, signature
}

// What does a message cost beside the two MACs that it needs? Open and seal of a
// kernel request with all attributes: at most 4 times the bare MACs, and that
// with the message inside decoded, too. All are measured in turns, and the ratio
// is of the fastest runs, so that it holds on a busy machine.
func BenchmarkOpenSeal(b *testing.B) {
	codec, raw, signature := benchEntry(b)
	mac, sum := hmac.New(sha256.New, []byte(goldenSecret)), make([]byte, 0, sha256.Size)
	request, buf := newRequest(), make([]byte, 0, 1024)
	parts := []struct {
		name    string
		run     func()
		fastest time.Duration
	}{
		{name: "2-macs", run: func() {
			for range 2 {
				mac.Reset()
				mac.Write(raw)
				sum = mac.Sum(sum[:0])
			}
		}},
		{name: "open", run: func() {
			if _, err := codec.Open(raw, signature[:]); err != nil {
				b.Fatal(err)
			}
		}},
		{name: "open+decode", run: func() {
			env, err := codec.Open(raw, signature[:])
			if err != nil {
				b.Fatal(err)
			}
			if _, err := leyline.Decode(env); err != nil {
				b.Fatal(err)
			}
		}},
		{name: "seal", run: func() {
			if _, _, err := codec.Seal(buf, request, fullHeader); err != nil {
				b.Fatal(err)
			}
		}},
	}
	const run = 100
	for b.Loop() {
		for i := range parts {
			start := time.Now()
			for range run {
				parts[i].run()
			}
			if took := time.Since(start) / run; parts[i].fastest == 0 || took < parts[i].fastest {
				parts[i].fastest = took
			}
		}
	}
	for _, part := range parts {
		b.ReportMetric(float64(part.fastest), "ns/"+part.name)
	}
	b.ReportMetric(0, "ns/op")
	bare := float64(parts[0].fastest)
	b.ReportMetric(float64(parts[1].fastest+parts[3].fastest)/bare, "ratio")
	b.ReportMetric(float64(parts[2].fastest+parts[3].fastest)/bare, "ratio-with-decode")
}

func BenchmarkOpen(b *testing.B) {
	codec, raw, signature := benchEntry(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := codec.Open(raw, signature[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	codec, raw, signature := benchEntry(b)
	env, err := codec.Open(raw, signature[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := leyline.Decode(env); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	codec := newCodec(b, leyline.CodecConfig{Source: "trainer/host-1"})
	request, buf := newRequest(), make([]byte, 0, 1024)
	for name, h := range map[string]leyline.Header{"header given": fullHeader, "id and time made": {Audience: fullHeader.Audience}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := codec.Seal(buf, request, h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What does a forged entry cost, compared with a good one? Less in every case,
// and no memory.
func BenchmarkEntry(b *testing.B) {
	codec, raw, signature := benchEntry(b)
	forged := signature
	forged[0] ^= 1
	guard := newGuard(b, leyline.GuardConfig{})
	for _, entry := range []struct {
		name      string
		signature []byte
	}{{"good", signature[:]}, {"forged", forged[:]}, {"unsigned", nil}, {"signature of wrong length", signature[1:]}} {
		b.Run(entry.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				env, err := codec.Open(raw, entry.signature)
				if err != nil {
					continue
				}
				msg, err := leyline.Decode(env)
				if err != nil {
					b.Fatal(err)
				}
				id, err := leyline.IdentityOf(env, msg)
				if err != nil {
					b.Fatal(err)
				}
				if err := guard.Admissible(env, id, fullHeader.Audience, epoch.UnixMilli()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
