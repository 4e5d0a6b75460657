package leyline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecretFile bounds what is read of a file of secrets, in bytes: a path that
// leads to something endless is an error, not the end of the process.
const maxSecretFile = 64 << 10

// WeakSecretError says that a secret is shorter than [MinSecretBytes]. In mode
// compat it is a warning to log, in mode strict a reason to refuse.
type WeakSecretError struct {
	// Position is the place of the secret among those checked, from 0.
	Position int
	// Len is its length in bytes.
	Len int
}

// Error says which secret is how short, and not what it is.
func (e *WeakSecretError) Error() string {
	return fmt.Sprintf("leyline: secret %d has %d bytes, fewer than %d", e.Position+1, e.Len, MinSecretBytes)
}

// CheckStrength returns a [*WeakSecretError] for the first of secrets that is
// weak, and nil where none is. The zero Secret is weak.
func CheckStrength(secrets ...Secret) error {
	for i, s := range secrets {
		if s.Weak() {
			return &WeakSecretError{Position: i, Len: s.Len()}
		}
	}
	return nil
}

// ReadSecretFile reads a secret from a file: all of it, but for one newline
// ("\n") at the end; nothing else is trimmed. Errors name the path and never
// what it holds. A file with nothing but white space gives [ErrNoSecret].
func ReadSecretFile(path string) (Secret, error) {
	text, err := readSecrets(path)
	if err != nil {
		return Secret{}, err
	}
	secret := NewSecret(text)
	if secret.Blank() {
		return Secret{}, fmt.Errorf("%w in %s", ErrNoSecret, path)
	}
	return secret, nil
}

// ReadSecretsFile reads a file that lists secrets as [ParseSecrets] takes them.
// An empty file lists none.
func ReadSecretsFile(path string) ([]Secret, error) {
	text, err := readSecrets(path)
	if err != nil {
		return nil, err
	}
	secrets, err := ParseSecrets(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w in %s", err, path)
	}
	return secrets, nil
}

// ParseSecrets takes a list of secrets apart at commas and newlines ("\n").
// Nothing is trimmed and nothing repeated is left out; items without a character
// are skipped, so that the list may end with a newline. A secret that contains a
// comma or a newline cannot be listed. An item of nothing but white space is an
// error, which names its position and not the text.
func ParseSecrets(list string) ([]Secret, error) {
	var secrets []Secret
	position := 0
	for item := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == '\n' }) {
		position++
		secret := NewSecret(item)
		if secret.Blank() {
			return nil, fmt.Errorf("leyline: secret %d of the list is blank", position)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// readSecrets returns the content of a file without one newline at its end.
func readSecrets(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("leyline: secret file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("leyline: secret file: %w", err)
	}
	if len(text) > maxSecretFile {
		return nil, errors.New("leyline: secret file: " + path + " is too large")
	}
	return bytes.TrimSuffix(text, []byte("\n")), nil
}
