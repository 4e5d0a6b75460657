package main

import (
	"context"
	"time"

	"github.com/esper-lite/esper/tamiyo"
)

// newPolicies opens the policies of the settings. In this service a policy is
// bytes with a version: it keeps them for whoever runs them.
func (svc *service) newPolicies(ctx context.Context, s settings) (*tamiyo.Consumer, error) {
	return tamiyo.Open(ctx, tamiyo.Config{
		Bus:                 svc.bus,
		Dir:                 s.PolicyDir,
		ArchitectureVersion: s.ArchitectureVersion,
		SkipVerify:          !s.VerifyUpdates,
		MaxAge:              time.Duration(s.UpdateFreshnessSec) * time.Second,
		ClockSkew:           s.ClockSkew,
		MaxBytes:            s.MaxMessageBytes,
		Forward:             svc.forward,
		Logger:              svc.log,
	})
}
