package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/esper-lite/esper/tamiyo"
)

// newPolicies opens the policies of the settings. In this service a policy is
// bytes with a version: it keeps them for whoever runs them.
func (svc *service) newPolicies(ctx context.Context, s settings) (*tamiyo.Consumer, error) {
	policies, err := tamiyo.Open(ctx, tamiyo.Config{
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
	return policies, policyDirTrouble(s, err)
}

// policyDirTrouble names the setting that an error of a file is about.
func policyDirTrouble(s settings, err error) error {
	_, file := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	if file || link {
		return fmt.Errorf("TAMIYO_POLICY_DIR=%q: %w", s.PolicyDir, err)
	}
	return err
}
