package contender

import (
	"fmt"
	"strings"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// readyAnswer is what a request is answered by, where no library is asked.
func readyAnswer(requestID, blueprintID string) *pb.KernelArtifactReady {
	digest := strings.Repeat("0123456789abcdef", 4)
	return &pb.KernelArtifactReady{
		RequestId:    requestID,
		BlueprintId:  blueprintID,
		ArtifactRef:  "/var/urza/artifacts/BP000001.pt",
		Checksum:     digest,
		GuardDigest:  digest,
		PrewarmP50Ms: 21.5,
		PrewarmP95Ms: 24.1,
	}
}

// sealed is an answer as it travels.
type sealed struct {
	payload   []byte
	signature leyline.Signature
}

func sealAnswer(codec *leyline.Codec) (s sealed, err error) {
	answer := readyAnswer(string(appendRequestID(nil, 0)), blueprintID(0))
	s.payload, s.signature, err = codec.Seal(nil, answer, leyline.Header{})
	return s, err
}

// openAnswers does what an asker has to do with n answers: the asker of floor+
// verifies them, too.
func (c *ours) openAnswers(n int) error {
	for range n {
		if _, err := c.codec.Open(c.answer.payload, c.answer.signature[:]); err != nil {
			return fmt.Errorf("contender: oona: answer: %w", err)
		}
	}
	return nil
}
