package tamiyo

import (
	"context"
	"time"

	"github.com/esper-lite/esper/oona"
)

// Update is a policy as it was published.
type Update struct {
	PolicyID      string    `json:"policy_id"`
	TrainingRunID string    `json:"training_run_id"`
	Version       string    `json:"tamiyo_policy_version"`
	IssuedAt      time.Time `json:"issued_at"`
	// Digest is the hex SHA-256 of the message. Two updates with one payload
	// have two digests.
	Digest string `json:"digest"`
	// Checksum is the hex SHA-256 of the payload.
	Checksum string `json:"checksum"`
	Bytes    int    `json:"bytes"`
	// Stream and At say which entry it was read from.
	Stream string        `json:"stream"`
	At     oona.Position `json:"at"`
	// Payload is opaque to this package. Do not change it.
	Payload []byte `json:"-"`
}

// Policy is what runs. Its methods are called one at a time, from the goroutine
// of [Consumer.Run], and for what is restored from that of [Open].
type Policy interface {
	// Validate says whether the update can be applied. It must change nothing.
	// An error refuses the update for good.
	Validate(ctx context.Context, u Update) error
	// Apply makes u the policy that runs, all of it or, on an error, nothing.
	// It may be called with an update that was applied before: to take a
	// failed swap back, and after a restart.
	Apply(ctx context.Context, u Update) error
}

// Opaque is a [Policy] of bytes that mean nothing here: the consumer keeps them
// for whoever reads the directory, or asks [Consumer.Current].
type Opaque struct{}

// Validate accepts everything.
func (Opaque) Validate(context.Context, Update) error { return nil }

// Apply does nothing.
func (Opaque) Apply(context.Context, Update) error { return nil }
