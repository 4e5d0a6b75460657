//go:build unix

package leyline_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// cpuTime returns the processor time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// What does a flood of a million forged entries cost, compared with a million good
// ones that are opened, judged, claimed and counted? Less processor time, and no
// memory.
func BenchmarkForgedFlood(b *testing.B) {
	const n = 1_000_000
	codec, raw, signature := benchEntry(b)
	forged := signature
	forged[0] ^= 1
	guard := newGuard(b, leyline.GuardConfig{Store: leyline.NewMemoryStore(n)})
	var refusals leyline.Refusals
	refusals.Count(fullHeader.Audience, 0, leyline.BadSignature)
	nonces := make([]string, n)
	for i := range nonces {
		nonces[i] = fmt.Sprintf("%036d", i)
	}
	good := func(i int) {
		env, err := codec.Open(raw, signature[:])
		if err != nil {
			b.Fatal(err)
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
		if _, err := guard.Admit(b.Context(), leyline.Claim{Nonce: nonces[i], Holder: "1-0", IssuedAt: epoch, Arrival: epoch}); err != nil {
			b.Fatal(err)
		}
	}
	bad := func(int) {
		if _, err := codec.Open(raw, forged[:]); err == nil {
			b.Fatal("a forged entry passed")
		}
		refusals.Count(fullHeader.Audience, 0, leyline.BadSignature)
	}
	for b.Loop() {
		times := make(map[string]time.Duration)
		for name, one := range map[string]func(int){"good": good, "forged": bad} {
			before, begun := heap(), cpuTime(b)
			for i := range n {
				one(i)
			}
			times[name] = cpuTime(b) - begun
			b.ReportMetric(float64(times[name])/n, "cpu-ns/"+name)
			b.ReportMetric(float64(heap()-before), "heap-B/"+name)
		}
		b.ReportMetric(float64(times["forged"])/float64(times["good"]), "ratio")
	}
	b.ReportMetric(0, "ns/op")
}
