package leyline

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// KeyFilesConfig says where the keys of a [KeyFiles] come from. Each of the two
// kinds comes from a file or is given as it is, not both.
type KeyFilesConfig struct {
	// SigningFile is the path of the secret that signs, read as by
	// [ReadSecretFile]. Empty means Signing.
	SigningFile string
	Signing     Secret
	// AcceptedFile is the path of a list of secrets that only verify, read as
	// by [ReadSecretsFile]. Empty means Accepted.
	AcceptedFile string
	Accepted     []Secret
	// AcceptedOptional has [OpenKeyFiles] go on without the accepted secrets
	// while AcceptedFile cannot be read: for a program that can do its work with
	// the one that signs. [KeyFiles.Reload] says why until it can read them.
	AcceptedOptional bool
	// Mode: in mode [Strict] a weak secret is an error; see [KeyFiles.Weak] for
	// mode [Compat].
	Mode Mode
}

// KeyFiles keeps a [Keyring] in step with files, so that keys change without a
// restart. It watches nothing and starts nothing: the program calls Reload when
// it is told to (SIGHUP) and from a ticker, and keys are never older than that.
//
// Replace a file by renaming a new one over it; a reader of a file that is being
// written may see half a secret.
//
// It is safe for concurrent use.
type KeyFiles struct {
	cfg     KeyFilesConfig
	keyring *Keyring

	mu       sync.Mutex // held by Reload; guards what follows
	signing  Secret
	accepted []Secret
}

// OpenKeyFiles reads the keys. The error is or wraps [ErrNoSecret] without a
// signing secret, wraps a [*WeakSecretError] for a weak one in mode [Strict], and
// otherwise says which file cannot be read, or which settings exclude each other.
func OpenKeyFiles(cfg KeyFilesConfig) (*KeyFiles, error) {
	if cfg.SigningFile != "" && !cfg.Signing.IsZero() {
		return nil, errors.New("leyline: KeyFilesConfig has both SigningFile and Signing")
	}
	if cfg.AcceptedFile != "" && len(cfg.Accepted) > 0 {
		return nil, errors.New("leyline: KeyFilesConfig has both AcceptedFile and Accepted")
	}
	cfg.Accepted = slices.Clone(cfg.Accepted)
	f := &KeyFiles{cfg: cfg, keyring: new(Keyring)}
	if _, err := f.reload(cfg.AcceptedOptional); err != nil {
		return nil, err
	}
	return f, nil
}

// Keyring returns the keyring that Reload keeps up to date; always the same one.
func (f *KeyFiles) Keyring() *Keyring { return f.keyring }

// Reload reads the files again and puts their keys into use, all at once, if they
// changed. After an error the keys are as they were: a service goes on with the
// keys it has while a file is missing, empty or unreadable.
func (f *KeyFiles) Reload() (changed bool, err error) { return f.reload(false) }

func (f *KeyFiles) reload(acceptedOptional bool) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	signing, accepted := f.cfg.Signing, f.cfg.Accepted
	if f.cfg.SigningFile != "" {
		if signing, err = ReadSecretFile(f.cfg.SigningFile); err != nil {
			return false, err
		}
	}
	if f.cfg.AcceptedFile != "" {
		if accepted, err = ReadSecretsFile(f.cfg.AcceptedFile); err != nil && !acceptedOptional {
			return false, err
		}
	}
	if signing.Blank() {
		return false, ErrNoSecret
	}
	if f.cfg.Mode == Strict {
		if err := weakest(signing, accepted); err != nil {
			return false, fmt.Errorf("%w: refused in mode %v", err, f.cfg.Mode)
		}
	}
	if signing.Equal(f.signing) && slices.EqualFunc(accepted, f.accepted, Secret.Equal) {
		return false, nil
	}
	if err := f.keyring.Rotate(signing, accepted...); err != nil {
		return false, err
	}
	f.signing, f.accepted = signing, accepted
	return true, nil
}

// Weak returns a [*WeakSecretError] if a key in use is weak, otherwise nil. Its
// position counts the signing secret first, then those accepted.
func (f *KeyFiles) Weak() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return weakest(f.signing, f.accepted)
}

func weakest(signing Secret, accepted []Secret) error {
	return CheckStrength(append([]Secret{signing}, accepted...)...)
}
