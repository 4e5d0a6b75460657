package kasmina

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/oona"
)

// Bus is what this package needs of the bus. An [*oona.Client] is one, and its
// methods say what each does.
type Bus interface {
	Publish(ctx context.Context, msgs ...proto.Message) ([]oona.Receipt, error)
	Tail(ctx context.Context, streams ...string) (oona.Cursor, error)
	Since(ctx context.Context, t time.Time, streams ...string) (oona.Cursor, error)
	Follow(ctx context.Context, f oona.Following, h oona.Handler) error
	Streams() oona.Streams
	Now() time.Time
}

var _ Bus = (*oona.Client)(nil)
