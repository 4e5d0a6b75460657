// Replay-guard is a webhook that acts on every signed order once: no bus, no
// Redis, only a keyring, a guard and a store in memory. It calls itself with a
// good request, the same one again, an old one and a forged one.
//
//	good:     200 started run-1
//	replayed: 409 leyline: replayed
//	stale:    409 leyline: stale
//	forged:   401 leyline: bad_signature
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// order is the body of a request; its signature is in the header X-Signature.
type order struct {
	ID       string    `json:"id"`
	IssuedAt time.Time `json:"issued_at"`
	Run      string    `json:"run"`
}

type webhook struct {
	keys  *leyline.Keyring
	guard *leyline.Guard
}

func (h webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	// First who it is from: bytes that nobody signed are not even parsed.
	if err := h.keys.Verify(body, []byte(r.Header.Get("X-Signature"))); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var o order
	if err := json.Unmarshal(body, &o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Then whether it is current and new, right before it is acted on.
	_, err = h.guard.Admit(r.Context(), leyline.Claim{Nonce: o.ID, IssuedAt: o.IssuedAt})
	switch {
	case errors.Is(err, leyline.ErrStoreFull), errors.Is(err, leyline.ErrStoreUnavailable):
		http.Error(w, err.Error(), http.StatusServiceUnavailable) // the sender tries again
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		fmt.Fprintln(w, "started", o.Run)
	}
}

func main() {
	keys, kerr := leyline.NewKeyring(leyline.NewSecret("a secret of at least 16 bytes"))
	guard, gerr := leyline.NewGuard(leyline.GuardConfig{Store: leyline.NewMemoryStore(65536)})
	if err := errors.Join(kerr, gerr); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(webhook{keys, guard})
	defer server.Close()

	send := func(name, body, signature string) {
		request, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("X-Signature", signature)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-9s %d %s\n", name+":", response.StatusCode, strings.TrimSpace(string(text)))
	}
	sign := func(body string) string { return keys.Sign([]byte(body)).String() }
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	good := fmt.Sprintf(`{"id":"order-1","run":"run-1","issued_at":%q}`, at(time.Now()))
	old := fmt.Sprintf(`{"id":"order-2","run":"run-2","issued_at":%q}`, at(time.Now().Add(-2*time.Minute)))
	send("good", good, sign(good))
	send("replayed", good, sign(good))
	send("stale", old, sign(old))
	send("forged", strings.Replace(good, "run-1", "run-9", 1), sign(good))
}
