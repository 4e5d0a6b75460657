package tamiyo

import (
	"context"
	"fmt"
	"slices"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Reason names why an update was refused. It is an error; errors.AsType finds it.
type Reason string

// Why updates are refused, in the order in which they are checked.
const (
	ReasonTooLarge        Reason = "too_large"
	ReasonReplayed        Reason = "replayed"         // applied before
	ReasonStale           Reason = "stale_update"     // too old, older than the one applied last, or undated
	ReasonFuture          Reason = "future_update"    // issued further ahead than the clock skew
	ReasonVersionMismatch Reason = "version_mismatch" // for another architecture
	ReasonInvalidPayload  Reason = "invalid_payload"  // the policy does not accept it
	ReasonApplyFailed     Reason = "apply_failed"     // the swap failed and was taken back
)

// Reasons returns every reason. The slice is the caller's.
func Reasons() []Reason {
	return []Reason{
		ReasonTooLarge, ReasonReplayed, ReasonStale, ReasonFuture,
		ReasonVersionMismatch, ReasonInvalidPayload, ReasonApplyFailed,
	}
}

// Error returns the reason with the package's prefix.
func (r Reason) Error() string { return "tamiyo: " + string(r) }

func refuse(r Reason, cause error) error { return fmt.Errorf("%w: %w", r, cause) }

// verify says whether an update may be applied; the error is or wraps a Reason.
func (c *Consumer) verify(ctx context.Context, u Update, body *pb.PolicyUpdate, m *oona.Message) error {
	if u.Bytes > c.cfg.MaxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ReasonTooLarge, u.Bytes, c.cfg.MaxBytes)
	}
	if err := c.verifyOrder(u, body, m); err != nil {
		return err
	}
	if !c.cfg.SkipVerify {
		if age := m.Arrival.Sub(u.IssuedAt); c.cfg.MaxAge > 0 && age > c.cfg.MaxAge {
			return fmt.Errorf("%w: issued %v before it arrived, at most %v", ReasonStale, age, c.cfg.MaxAge)
		}
		if want := c.cfg.ArchitectureVersion; want != "" && u.Version != "" && u.Version != want {
			return fmt.Errorf("%w: %q, this is %q", ReasonVersionMismatch, u.Version, want)
		}
	}
	if u.Bytes == 0 {
		return nil
	}
	if err := guarded(func() error { return c.cfg.Policy.Validate(ctx, u) }); err != nil {
		return refuse(ReasonInvalidPayload, err)
	}
	return nil
}

// verifyOrder keeps old updates from coming back, whatever the settings.
func (c *Consumer) verifyOrder(u Update, body *pb.PolicyUpdate, m *oona.Message) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case slices.Contains(c.state.Applied, u.Digest):
		return ReasonReplayed
	case body.GetIssuedAt() == nil || body.GetIssuedAt().CheckValid() != nil:
		return fmt.Errorf("%w: it does not say when it was issued", ReasonStale)
	case u.IssuedAt.Sub(m.Arrival) > c.cfg.ClockSkew:
		return fmt.Errorf("%w: issued %v after it arrived", ReasonFuture, u.IssuedAt.Sub(m.Arrival))
	case u.IssuedAt.Before(c.state.newest()):
		return fmt.Errorf("%w: issued before the one applied last", ReasonStale)
	}
	return nil
}
