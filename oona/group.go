package oona

import (
	"context"
	"fmt"
	"strings"
)

// ensureGroup makes the group at the start of the stream, unless it is there.
// At the start, because what was published before the first start is work too.
func (c *Client) ensureGroup(ctx context.Context, stream, group string) error {
	err := c.rdb.XGroupCreateMkStream(ctx, stream, group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("oona: create group %s on %s: %w", group, stream, err)
	}
	return nil
}

// groupLost reports whether an error reply says that the group, or its stream,
// is gone.
func groupLost(err error) bool { return err != nil && strings.Contains(err.Error(), "NOGROUP") }
