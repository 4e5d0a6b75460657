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
	it, p, err := l.resolve(ctx, request.GetBlueprintId())
	if err == nil {
		answer := new(leylinepb.KernelArtifactReady)
		fillReady(answer, request, it, p.sum)
		return answer, nil
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

// fillReady fills in an answer that is still zero.
func fillReady(answer *leylinepb.KernelArtifactReady, request *leylinepb.KernelPrefetchRequest, it *item, sum string) {
	answer.RequestId = request.GetRequestId()
	answer.BlueprintId = request.GetBlueprintId()
	answer.ArtifactRef = it.entry.ArtifactPath
	answer.Checksum = sum
	answer.GuardDigest = it.guardDigest()
	answer.PrewarmP50Ms = it.entry.PrewarmP50
	answer.PrewarmP95Ms = it.entry.PrewarmP95
}

// guardDigest returns the guard digest of a record, or what stands in for it,
// which is made once.
func (it *item) guardDigest() string {
	if it.entry.GuardDigest != "" {
		return it.entry.GuardDigest
	}
	if made := it.digest.Load(); made != nil {
		return *made
	}
	sum := sha256.Sum256([]byte(it.entry.BlueprintID + ":" + strconv.Itoa(int(it.entry.Tier))))
	digest := hex.EncodeToString(sum[:])
	it.digest.Store(&digest)
	return digest
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
