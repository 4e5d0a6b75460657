package oona_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/esper-lite/esper/oona"
)

// TestAddressErrors come at once, say what is wrong, and show no password.
func TestAddressErrors(t *testing.T) {
	for url, says := range map[string]string{
		"":                                      ": it is empty",
		"localhost:6379":                        "not valid",
		"http://:hunter2@localhost":             "not valid",
		"redis://:hunter2@local host:x":         "not valid",
		"redis+sentinel://:hunter2@localhost:1": "needs the master's name",
	} {
		_, err := oona.Connect(t.Context(), oona.Config{URL: url, Codec: newCodec(t)})
		if !errors.Is(err, oona.ErrAddress) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
