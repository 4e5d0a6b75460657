//go:build !unix

package tamiyo

// syncDir does nothing: a directory cannot be synchronised here.
func syncDir(string) error { return nil }

// lockDir does nothing: the directory must not be shared here.
func lockDir(string) (unlock func() error, err error) { return func() error { return nil }, nil }
