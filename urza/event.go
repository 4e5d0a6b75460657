package urza

import (
	"fmt"
	"time"
)

// IntegrityKind says what is wrong with an artifact or its record.
type IntegrityKind string

// The kinds of integrity events.
const (
	KindChecksumMismatch IntegrityKind = "checksum_mismatch"  // the file is not the one that was recorded
	KindArtifactMissing  IntegrityKind = "artifact_not_found" // the file is not there, or not a regular file
	KindOutsideRoot      IntegrityKind = "outside_root"       // the path leads out of the library root
	KindMalformedRecord  IntegrityKind = "malformed_record"   // the metadata cannot be read
	KindUnusablePending  IntegrityKind = "unusable_pending"   // a pending save that cannot be applied
)

// IntegrityEvent reports something that is wrong with the library itself.
// While the same thing stays wrong with the same blueprint it is reported once
// a minute at most; every time is counted.
type IntegrityEvent struct {
	Time         time.Time
	Kind         IntegrityKind
	BlueprintID  string // empty where none is known
	ArtifactPath string // as the record has it
	Want, Got    string // checksums, for KindChecksumMismatch
	Err          error  // what was found, in words
}

// String returns one line for a log.
func (e IntegrityEvent) String() string {
	return fmt.Sprintf("%s: blueprint %q: artifact %q: %v", e.Kind, e.BlueprintID, e.ArtifactPath, e.Err)
}
