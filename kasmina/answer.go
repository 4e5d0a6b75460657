package kasmina

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// settledIDs is how many ids of settled requests are remembered, to tell an answer
// that comes twice from one for somebody else.
const settledIDs = 1024

// receive handles what the answer streams carry. It never fails: what is not for
// us is counted.
func (c *Coordinator) receive(_ context.Context, batch []*oona.Message) []oona.Result {
	for _, m := range batch {
		c.accept(m.Body)
	}
	return make([]oona.Result, len(batch))
}

func (c *Coordinator) accept(body proto.Message) {
	switch b := body.(type) {
	case *pb.KernelArtifactReady:
		c.settle(b.GetRequestId(), b.GetBlueprintId(), answer{artifact: Artifact{
			BlueprintID: b.GetBlueprintId(),
			Ref:         b.GetArtifactRef(),
			Checksum:    b.GetChecksum(),
			GuardDigest: b.GetGuardDigest(),
			PrewarmP50:  fromMillis(b.GetPrewarmP50Ms()),
			PrewarmP95:  fromMillis(b.GetPrewarmP95Ms()),
		}})
	case *pb.KernelArtifactError:
		reason := b.GetReason()
		if reason == "" {
			reason = "unspecified"
		}
		c.settle(b.GetRequestId(), b.GetBlueprintId(), answer{reason: reason})
	case *pb.KernelCatalogUpdate:
		c.counts.catalogUpdates.Add(1)
		c.hint(b.GetBlueprintId())
	}
}

// settle passes an answer to the flight that waits for it.
func (c *Coordinator) settle(requestID, blueprintID string, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.asked[requestID]
	switch {
	case f == nil && c.settled.has(requestID):
		c.counts.duplicates.Add(1)
		return
	case f == nil:
		c.counts.strangers.Add(1)
		return
	case f.want.BlueprintID != blueprintID:
		// Authentic, and wrong: the right answer may still come.
		c.counts.mismatched.Add(1)
		return
	}
	delete(c.asked, requestID)
	c.settled.add(requestID)
	select {
	case f.answers <- a:
		c.counts.answers.Add(1)
		if a.reason != "" {
			c.counts.errors.Add(1)
		}
	default: // an answer to another request of the flight was first
		c.counts.duplicates.Add(1)
	}
}

// hint takes note that the library announced a change. Anybody could have
// recorded the announcement and played it again, so it changes nothing but that
// the next request asks.
func (c *Coordinator) hint(blueprintID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[blueprintID]; f != nil {
		f.outdated = true
	}
	c.cfg.Cache.Expire(blueprintID)
}

// fromMillis converts what the wire says; nonsense is nothing.
func fromMillis(ms float32) time.Duration {
	const most = float32(24 * time.Hour / time.Millisecond)
	if !(ms > 0 && ms <= most) {
		return 0
	}
	return time.Duration(float64(ms) * float64(time.Millisecond))
}
