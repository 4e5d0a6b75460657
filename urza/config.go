package urza

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Defaults of [Config].
const (
	DefaultDatabaseURL      = "sqlite:///./var/urza/catalog.db"
	DefaultArtifactDir      = "./var/urza/artifacts"
	DefaultMaxArtifactBytes = 64 << 30
	DefaultMinFreeBytes     = 256 << 20
	DefaultRefreshInterval  = time.Second
	DefaultLookupObjective  = 200 * time.Millisecond
)

// Config says where a library is and how it behaves. Zero fields mean their
// defaults.
type Config struct {
	// DatabaseURL names the catalogue: sqlite:///relative/path or
	// sqlite:////absolute/path, as SQLAlchemy reads it; sqlite:// alone keeps
	// the rows in memory. Zero means DefaultDatabaseURL. It is not used where
	// Catalogue is set.
	DatabaseURL string

	// Catalogue, if not nil, is used instead of DatabaseURL. The library
	// closes it.
	Catalogue Catalogue

	// ArtifactDir is where new artifacts go; it is made if it is missing. Its
	// parent is the library root. In rows it stands as it stands here, so a
	// relative one is understood by whoever has the same working directory.
	// Zero means DefaultArtifactDir.
	ArtifactDir string

	// WorkDir is what relative paths are relative to, those in rows included.
	// Zero means the working directory of the process during Open.
	WorkDir string

	// CacheTTL is the age (by modification time) past which an artifact is
	// expired: not served any more, and taken away by Maintain. Zero means
	// never.
	CacheTTL time.Duration

	// MaxArtifactBytes is the size of the largest artifact that Add takes.
	// Zero means DefaultMaxArtifactBytes, negative no limit.
	MaxArtifactBytes int64

	// MinFreeBytes is what Add leaves free on the file system of the
	// artifacts. Zero means DefaultMinFreeBytes, negative no reserve.
	MinFreeBytes int64

	// RefreshInterval is how often the library looks for what other processes
	// changed, unless reading it takes so long that it would be busy with that
	// for more than a tenth of the time. What a request needs is found without
	// it. Zero means DefaultRefreshInterval.
	RefreshInterval time.Duration

	// BusyTimeout bounds the wait for locks of other processes. Zero means
	// DefaultBusyTimeout.
	BusyTimeout time.Duration

	// LookupObjective is the latency past which reading the catalogue counts
	// as slow; three slow or failed reads in a row open the breaker for 30 s.
	// Zero means DefaultLookupObjective.
	LookupObjective time.Duration

	// OnIntegrity, if not nil, is called for every integrity event, from
	// whatever goroutine found it. It must return soon.
	OnIntegrity func(IntegrityEvent)

	// Logger receives what no caller is told. Nil discards it.
	Logger *slog.Logger
}

// Validate reports what Open would refuse in c, without touching any file.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	c.DatabaseURL = cmp.Or(c.DatabaseURL, DefaultDatabaseURL)
	c.ArtifactDir = cmp.Or(c.ArtifactDir, DefaultArtifactDir)
	c.MaxArtifactBytes = cmp.Or(c.MaxArtifactBytes, DefaultMaxArtifactBytes)
	c.MinFreeBytes = cmp.Or(c.MinFreeBytes, DefaultMinFreeBytes)
	c.RefreshInterval = cmp.Or(c.RefreshInterval, DefaultRefreshInterval)
	c.BusyTimeout = cmp.Or(c.BusyTimeout, DefaultBusyTimeout)
	c.LookupObjective = cmp.Or(c.LookupObjective, DefaultLookupObjective)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"cache TTL", c.CacheTTL},
		{"refresh interval", c.RefreshInterval},
		{"busy timeout", c.BusyTimeout},
		{"lookup objective", c.LookupObjective},
	} {
		if d.value < 0 {
			return c, fmt.Errorf("urza: negative %s: %v", d.name, d.value)
		}
	}
	if c.Catalogue == nil {
		if _, err := databasePath(c.DatabaseURL); err != nil {
			return c, err
		}
	}
	if strings.ContainsRune(c.ArtifactDir, 0) {
		return c, errors.New("urza: artifact directory contains a NUL byte")
	}
	var err error
	if c.WorkDir == "" {
		c.WorkDir, err = os.Getwd()
	} else {
		c.WorkDir, err = filepath.Abs(c.WorkDir)
	}
	if err != nil {
		return c, fmt.Errorf("urza: working directory: %w", err)
	}
	if dir := c.absolute(c.ArtifactDir); filepath.Dir(dir) == dir {
		return c, fmt.Errorf("urza: artifact directory %s has no parent", c.ArtifactDir)
	}
	return c, nil
}

// absolute returns path as it is seen from WorkDir.
func (c Config) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(c.WorkDir, path)
}

// databasePath returns the file of a database URL; it is empty for a database
// in memory.
func databasePath(databaseURL string) (string, error) {
	scheme, path, ok := strings.Cut(databaseURL, "://")
	if dialect, _, _ := strings.Cut(scheme, "+"); !ok || dialect != "sqlite" {
		return "", fmt.Errorf("urza: database URL %q: want sqlite:///path", databaseURL)
	}
	path, query, _ := strings.Cut(path, "?")
	if strings.Contains(query, "uri=") {
		return "", fmt.Errorf("urza: database URL %q: SQLite URIs are not supported", databaseURL)
	}
	switch {
	case path == "", path == "/", path == "/:memory:":
		return "", nil
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("urza: database URL %q names a host: want sqlite:///path", databaseURL)
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("urza: database URL %q contains a NUL byte", databaseURL)
	}
	return path[1:], nil
}
