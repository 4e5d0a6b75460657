package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// secretList is a list of secrets in one variable.
type secretList []leyline.Secret

// UnmarshalText reads secrets separated by commas or newlines.
func (l *secretList) UnmarshalText(text []byte) error {
	secrets, err := leyline.ParseSecrets(string(text))
	if err != nil {
		return err
	}
	*l = secrets
	return nil
}

// openKeys reads the keys that the settings name; without a secret nothing that
// touches the bus may start, nor the service without those that it is to accept:
// it would refuse messages for good.
func openKeys(s settings, log *slog.Logger) (*leyline.KeyFiles, error) {
	return openKeyFiles(s, false, log)
}

// openToolKeys is openKeys for a command that is not the service: it does its
// work without the accepted secrets, while their file is away, and says so.
func (a *app) openToolKeys(s settings, log *slog.Logger) (*leyline.KeyFiles, error) {
	keys, err := openKeyFiles(s, true, log)
	if err != nil {
		return nil, err
	}
	if _, err := keys.Reload(); err != nil {
		newLogger(a.Err, s.LogFormat, slog.LevelWarn).Warn("the accepted secrets cannot be read; going on with the one that signs: what another one signed does not verify here",
			"setting", "ESPER_LEYLINE_SECRET_ACCEPTED_FILE", "error", err)
	}
	return keys, nil
}

func openKeyFiles(s settings, acceptedOptional bool, log *slog.Logger) (*leyline.KeyFiles, error) {
	if s.SecretFile != "" && !s.Secret.IsZero() {
		return nil, usageErrorf("ESPER_LEYLINE_SECRET and ESPER_LEYLINE_SECRET_FILE are both set: set one of them, not both")
	}
	if s.SecretAcceptedFile != "" && len(s.SecretAccepted) > 0 {
		return nil, usageErrorf("ESPER_LEYLINE_SECRET_ACCEPTED and ESPER_LEYLINE_SECRET_ACCEPTED_FILE are both set: set one of them, not both")
	}
	keys, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{
		SigningFile:      s.SecretFile,
		Signing:          s.Secret,
		AcceptedFile:     s.SecretAcceptedFile,
		Accepted:         s.SecretAccepted,
		AcceptedOptional: acceptedOptional,
		Mode:             s.Mode,
	})
	switch {
	case errors.Is(err, leyline.ErrNoSecret):
		return nil, usageErrorf("ESPER_LEYLINE_SECRET, or ESPER_LEYLINE_SECRET_FILE, must be set, to what the fleet uses; for a new fleet \"openssl rand -hex 32\" makes one: %w", err)
	case err != nil:
		name := secretVariable(s)
		if file, ok := errors.AsType[*fs.PathError](err); ok && file.Path == s.SecretAcceptedFile {
			name = "ESPER_LEYLINE_SECRET_ACCEPTED_FILE"
		}
		return nil, usageErrorf("%s: %w", name, err)
	}
	if weak, ok := errors.AsType[*leyline.WeakSecretError](keys.Weak()); ok {
		log.Warn("a secret is short and can be guessed", "setting", secretVariable(s), "bytes", weak.Len, "least_bytes", leyline.MinSecretBytes)
	}
	return keys, nil
}

// secretVariable names the setting that the secret comes from.
func secretVariable(s settings) string {
	switch {
	case s.SecretFile != "":
		return "ESPER_LEYLINE_SECRET_FILE"
	case s.SecretAcceptedFile != "" && !s.Secret.IsZero():
		return "ESPER_LEYLINE_SECRET, ESPER_LEYLINE_SECRET_ACCEPTED_FILE"
	}
	return "ESPER_LEYLINE_SECRET"
}

// keyReload is how often key files are read again.
const keyReload = 5 * time.Second

// reloadKeys keeps the keys in step with their files, at SIGHUP and every few
// seconds, until ctx ends.
func reloadKeys(ctx context.Context, keys *leyline.KeyFiles, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	keepKeys(ctx, keys, hangup, log)
}

// keepKeys is reloadKeys that is asked by a channel.
func keepKeys(ctx context.Context, keys *leyline.KeyFiles, hangup <-chan os.Signal, log *slog.Logger) {
	ticker := time.NewTicker(keyReload)
	defer ticker.Stop()
	signature := keys.Keyring().Sign(nil) // tells one signing key from another
	failed := ""
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-ticker.C:
		}
		changed, err := keys.Reload()
		switch {
		case err != nil && (asked || err.Error() != failed):
			log.Error("keys could not be read again; those in use stay", "error", err)
		case changed:
			before := signature
			signature = keys.Keyring().Sign(nil)
			log.Info("keys changed", "accepted", keys.Keyring().Len(), "signing_changed", signature != before)
		case asked:
			log.Info("keys read again, nothing changed")
		}
		failed = ""
		if err != nil {
			failed = err.Error()
		}
	}
}

// dropBlankSecrets drops a secret of nothing but white space: it is as good as none.
func dropBlankSecrets(vars map[string]string) {
	for _, name := range []string{"ESPER_LEYLINE_SECRET", "ESPER_LEYLINE_SECRET_ACCEPTED"} {
		if strings.TrimSpace(vars[name]) == "" {
			delete(vars, name)
		}
	}
}
