package main

import (
	"strings"
	"testing"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// A process with another secret than the fleet says so at its start; one with the
// right secret, or that is alone, does not.
func TestAnotherSecretIsTold(t *testing.T) {
	t.Parallel()
	const told = "nothing that others sent verifies"
	server := redistest.Start(t)
	env := serviceEnv(server)
	first := start(t, serviceDir(t), env)
	client := server.Client()
	eventually(t, func() error {
		return errIf(client.XLen(t.Context(), "oona.telemetry").Val() == 0, "no telemetry yet")
	})
	second := start(t, serviceDir(t), env)
	stranger := start(t, serviceDir(t), with(env, "ESPER_LEYLINE_SECRET", "another-secret-of-ours"))
	eventually(t, func() error {
		return errIf(!strings.Contains(stranger.stderr.String(), told), "not told yet")
	})
	pass(t, secretCheckTime)
	for _, p := range []*process{first, second} {
		if strings.Contains(p.stderr.String(), told) {
			t.Errorf("told without a reason: %s", p.stderr.String())
		}
	}
}
