package urza

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Reasons in error answers. The first three are the contract's; the others are
// what this package needs beyond them.
const (
	// ReasonMissingArtifact: there is no such blueprint, or its artifact is
	// expired.
	ReasonMissingArtifact = "missing_artifact"

	// ReasonArtifactNotFound: there is a record, but its file is missing, is
	// not a regular file, or lies outside the library.
	ReasonArtifactNotFound = "artifact_not_found"

	// ReasonChecksumMismatch: the file is not the one that was recorded.
	ReasonChecksumMismatch = "checksum_mismatch"

	// ReasonCatalogUnavailable: the index does not know the blueprint and the
	// catalogue cannot be asked. Asking again later may help.
	ReasonCatalogUnavailable = "catalog_unavailable"

	// ReasonArtifactUnreadable: the file is there but reading it failed.
	ReasonArtifactUnreadable = "artifact_unreadable"

	// ReasonMalformedRecord: the record's metadata cannot be read.
	ReasonMalformedRecord = "malformed_record"
)

// Answer returns what a prefetch request is answered with: a
// *leylinepb.KernelArtifactReady or a *leylinepb.KernelArtifactError. It fails
// only where there is no answer yet: ctx ended, or the library was closed.
func (l *Library) Answer(ctx context.Context, request *leylinepb.KernelPrefetchRequest) (proto.Message, error) {
	artifact, err := l.Resolve(ctx, request.GetBlueprintId())
	if err == nil {
		return ready(request, &artifact), nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if errors.Is(err, ErrClosed) {
		return nil, err
	}
	return &leylinepb.KernelArtifactError{
		RequestId:   request.GetRequestId(),
		BlueprintId: request.GetBlueprintId(),
		Reason:      answerReason(err),
	}, nil
}

func ready(request *leylinepb.KernelPrefetchRequest, a *Artifact) *leylinepb.KernelArtifactReady {
	answer := &leylinepb.KernelArtifactReady{
		RequestId:    request.GetRequestId(),
		BlueprintId:  request.GetBlueprintId(),
		ArtifactRef:  a.Entry.ArtifactPath,
		Checksum:     a.Checksum,
		GuardDigest:  a.Entry.GuardDigest,
		PrewarmP50Ms: a.Entry.PrewarmP50,
		PrewarmP95Ms: a.Entry.PrewarmP95,
	}
	if answer.GuardDigest == "" {
		answer.GuardDigest = fallbackDigest(a.Entry.BlueprintID, a.Entry.Tier)
	}
	return answer
}

// fallbackDigest stands in for the guard digest of a record that has none.
func fallbackDigest(blueprintID string, tier leylinepb.BlueprintTier) string {
	sum := sha256.Sum256([]byte(blueprintID + ":" + strconv.Itoa(int(tier))))
	return hex.EncodeToString(sum[:])
}

func answerReason(err error) string {
	_, mismatch := errors.AsType[*ChecksumError](err)
	switch {
	case mismatch:
		return ReasonChecksumMismatch
	case errors.Is(err, ErrNotFound):
		return ReasonMissingArtifact
	case errors.Is(err, ErrArtifactMissing):
		return ReasonArtifactNotFound
	case errors.Is(err, ErrMalformed):
		return ReasonMalformedRecord
	case errors.Is(err, ErrUnavailable):
		return ReasonCatalogUnavailable
	default:
		return ReasonArtifactUnreadable
	}
}
