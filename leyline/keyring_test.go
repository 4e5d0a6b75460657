package leyline_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esper-lite/esper/leyline"
)

func TestKeyring(t *testing.T) {
	message := []byte("message")
	a, b := newKeyring(t, "a"), newKeyring(t, "b")
	both := newKeyring(t, "a", "b", "", "a", "b")
	if both.Len() != 2 {
		t.Errorf("Len = %d, want 2: zero and repeated secrets do not count", both.Len())
	}
	if both.Sign(message) != a.Sign(message) {
		t.Error("does not sign with the first key")
	}
	for name, keys := range map[string]*leyline.Keyring{"a": a, "b": b} {
		signature := keys.Sign(message)
		if err := both.Verify(message, signature[:]); err != nil {
			t.Errorf("signature of %s: %v", name, err)
		}
	}
	other := newKeyring(t, "c").Sign(message)
	if err := both.Verify(message, other[:]); err != leyline.BadSignature {
		t.Errorf("signature of c: %v", err)
	}
	if _, err := leyline.NewKeyring(leyline.Secret{}, leyline.NewSecret("a")); err != leyline.ErrNoSecret {
		t.Errorf("without a signing key: %v", err)
	}
	if err := both.Rotate(leyline.Secret{}); err != leyline.ErrNoSecret || both.Sign(message) != a.Sign(message) || both.Len() != 2 {
		t.Errorf("a failed Rotate changed the keys: %v", err)
	}
}

func TestZeroKeyring(t *testing.T) {
	var keys leyline.Keyring
	signature := newKeyring(t, "a").Sign(nil)
	if err := keys.Verify(nil, signature[:]); err != leyline.BadSignature || keys.Len() != 0 {
		t.Errorf("Verify = %v, Len = %d", err, keys.Len())
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Sign without a key did not panic")
			}
		}()
		keys.Sign(nil)
	}()
	if err := keys.Rotate(leyline.NewSecret("a")); err != nil || keys.Sign(nil) != signature {
		t.Errorf("after Rotate: %v", err)
	}
}

// fleetMember has its keys in files of its own.
type fleetMember struct {
	dir   string
	files *leyline.KeyFiles
}

func newFleetMember(t *testing.T, secret string) fleetMember {
	t.Helper()
	m := fleetMember{dir: t.TempDir()}
	cfg := leyline.KeyFilesConfig{
		SigningFile:  writeFile(t, m.dir, "signing", secret),
		AcceptedFile: writeFile(t, m.dir, "accepted", ""),
	}
	var err error
	if m.files, err = leyline.OpenKeyFiles(cfg); err != nil {
		t.Fatal(err)
	}
	return m
}

// rotate replaces the files and has them read again.
func (m fleetMember) rotate(t *testing.T, signing string, accepted ...string) {
	writeFile(t, m.dir, "accepted", strings.Join(accepted, "\n"))
	writeFile(t, m.dir, "signing", signing)
	if changed, err := m.files.Reload(); !changed || err != nil {
		t.Errorf("Reload = %v, %v", changed, err)
	}
}

// A fleet of a producer and a consumer changes its key twice, each change in
// three steps, by files that are read again, while 100,000 messages pass: none is
// refused.
func TestRotationUnderLoad(t *testing.T) {
	messages := int64(100_000)
	if raceEnabled {
		messages = 10_000 // it looks at every one of them for a long time
	}
	producer, consumer := newFleetMember(t, "key 0"), newFleetMember(t, "key 0")
	sealer := newCodec(t, leyline.CodecConfig{Keys: producer.files.Keyring()})
	opener := newCodec(t, leyline.CodecConfig{Keys: consumer.files.Keyring()})
	var begun, opened atomic.Int64
	var rotated atomic.Bool
	var underway sync.RWMutex // read-locked from seal to open
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for begun.Add(1) <= messages || !rotated.Load() {
				underway.RLock()
				payload, signature, err := sealer.Seal(nil, newRequest(), leyline.Header{})
				if err == nil {
					_, err = opener.Open(payload, signature[:])
				}
				underway.RUnlock()
				if err != nil {
					t.Error(err)
				}
				opened.Add(1)
			}
		})
	}
	steps := 0
	step := func(signing string, accepted ...string) {
		producer.rotate(t, signing, accepted...)
		consumer.rotate(t, signing, accepted...)
		// Finished everywhere means that nothing is underway from before.
		underway.Lock()
		steps++
		underway.Unlock()
	}
	for i, next := range []string{"key 1", "key 2"} {
		old := []string{"key 0", "key 1"}[i]
		for opened.Load() < messages/3*int64(i+1) {
			runtime.Gosched()
		}
		step(old, next) // accept the new key everywhere
		step(next, old) // sign with it
		step(next)      // drop the old one
	}
	rotated.Store(true)
	workers.Wait()
	if opened.Load() < messages || steps != 6 {
		t.Errorf("%d messages opened, %d steps taken", opened.Load(), steps)
	}
	old := newKeyring(t, "key 0").Sign([]byte("message"))
	if err := consumer.files.Keyring().Verify([]byte("message"), old[:]); !errors.Is(err, leyline.BadSignature) {
		t.Errorf("the first key is still accepted: %v", err)
	}
}
