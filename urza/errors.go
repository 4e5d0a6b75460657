package urza

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is returned for a blueprint that the catalogue does not
	// hold, and for one whose artifact is older than [Config.CacheTTL].
	ErrNotFound = errors.New("urza: no such blueprint")

	// ErrArtifactMissing is returned for a record whose file is not there, or
	// is not a regular file.
	ErrArtifactMissing = errors.New("urza: artifact not found")

	// ErrOutsideRoot is returned for an artifact path that leads out of the
	// library root. It comes wrapped together with [ErrArtifactMissing],
	// because that is what the requester is told.
	ErrOutsideRoot = errors.New("urza: artifact path leads out of the library")

	// ErrMalformed is returned for a record whose metadata cannot be read.
	ErrMalformed = errors.New("urza: malformed record")

	// ErrUnavailable is returned when the catalogue cannot be read or written
	// right now, or may not be asked because its breaker is open.
	ErrUnavailable = errors.New("urza: catalogue unavailable")

	// ErrTooLarge is returned for an artifact above [Config.MaxArtifactBytes].
	ErrTooLarge = errors.New("urza: artifact too large")

	// ErrNoSpace is returned when an artifact would leave less than
	// [Config.MinFreeBytes] on its file system, or when that is full.
	ErrNoSpace = errors.New("urza: not enough free space")

	// ErrArtifactDir is returned by Open when [Config.ArtifactDir], or the library
	// root above it, cannot be made or opened.
	ErrArtifactDir = errors.New("urza: artifact directory")

	// ErrClosed is returned by a library or catalogue that was closed.
	ErrClosed = errors.New("urza: closed")
)

// A ChecksumError reports an artifact that does not have the checksum that its
// record, or whoever handed it in, states.
type ChecksumError struct {
	BlueprintID  string
	ArtifactPath string // as the record has it; empty while adding
	Want, Got    string // hex SHA-256
}

// Error implements error.
func (e *ChecksumError) Error() string {
	return fmt.Sprintf("urza: checksum mismatch: blueprint %q: want %s, got %s", e.BlueprintID, e.Want, e.Got)
}

// unavailable marks an error of the catalogue as one that passes.
func unavailable(err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
