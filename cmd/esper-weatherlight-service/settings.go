package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// settings is every setting of the service. The tags are the reference: env
// names the variable, envDefault is the default, meaning stands in the manual, and
// unset is what holds where there is neither: a name, or words in parentheses.
// Durations are Go durations ("250ms"), except where the name ends in a unit.
type settings struct {
	Secret             leyline.Secret `env:"ESPER_LEYLINE_SECRET" unset:"(not set: required)" meaning:"HMAC secret that signs and verifies; required, here or as a file"`
	SecretFile         string         `env:"ESPER_LEYLINE_SECRET_FILE" unset:"(not set)" meaning:"file with the secret; one trailing newline is dropped"`
	SecretAccepted     secretList     `env:"ESPER_LEYLINE_SECRET_ACCEPTED" unset:"(none)" meaning:"further secrets that only verify, separated by commas or newlines"`
	SecretAcceptedFile string         `env:"ESPER_LEYLINE_SECRET_ACCEPTED_FILE" unset:"(not set)" meaning:"file with further secrets that only verify"`
	Mode               leyline.Mode   `env:"LEYLINE_MODE" envDefault:"compat" meaning:"compat accepts Python producers; strict demands our signed attributes of every message"`
	ClockSkew          time.Duration  `env:"LEYLINE_CLOCK_SKEW" envDefault:"5s" meaning:"how far in the future a message may be issued"`
	FreshnessMS        int64          `env:"KERNEL_FRESHNESS_WINDOW_MS" envDefault:"60000" meaning:"oldest kernel request that is served, in ms"`
	NonceCacheSize     int64          `env:"KERNEL_NONCE_CACHE_SIZE" envDefault:"1048576" meaning:"capacity of a replay store in memory, at least 65536; not used by this service, which keeps nonces in Redis"`

	RedisURL         string        `env:"REDIS_URL" envDefault:"redis://localhost:6379/0" meaning:"the bus: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"`
	NormalStream     string        `env:"OONA_NORMAL_STREAM" unset:"oona.normal" meaning:"stream name; on a Redis Cluster {oona}.normal unless set"`
	EmergencyStream  string        `env:"OONA_EMERGENCY_STREAM" unset:"oona.emergency" meaning:"stream name; on a Redis Cluster {oona}.emergency unless set"`
	TelemetryStream  string        `env:"OONA_TELEMETRY_STREAM" unset:"oona.telemetry" meaning:"stream name; on a Redis Cluster {oona}.telemetry unless set"`
	PolicyStream     string        `env:"OONA_POLICY_STREAM" unset:"oona.policy" meaning:"stream name; on a Redis Cluster {oona}.policy unless set"`
	RequestStream    string        `env:"OONA_KERNEL_REQUEST_STREAM" unset:"oona.kernels.requests" meaning:"stream name; on a Redis Cluster {oona}.kernels.requests unless set"`
	ReadyStream      string        `env:"OONA_KERNEL_READY_STREAM" unset:"oona.kernels.ready" meaning:"stream name; on a Redis Cluster {oona}.kernels.ready unless set"`
	ErrorStream      string        `env:"OONA_KERNEL_ERROR_STREAM" unset:"oona.kernels.errors" meaning:"stream name; on a Redis Cluster {oona}.kernels.errors unless set"`
	DeadLetterStream string        `env:"OONA_DEAD_LETTER_STREAM" unset:"oona.deadletter" meaning:"stream name; on a Redis Cluster {oona}.deadletter unless set"`
	MessageTTLMS     int64         `env:"OONA_MESSAGE_TTL_MS" envDefault:"900000" meaning:"age at which requests expire and housekeeping trims, in ms"`
	MaxMessageBytes  int           `env:"OONA_MAX_MESSAGE_BYTES" envDefault:"1048576" meaning:"largest message that is sealed or opened, in bytes"`
	MaxQueueDepth    int64         `env:"OONA_MAX_QUEUE_DEPTH" envDefault:"100000" meaning:"messages that may wait in a stream; publishing is refused at 50, 75, 85 and 95 % of it, by priority"`
	EmergencyRate    int           `env:"OONA_EMERGENCY_PER_MINUTE" envDefault:"120" meaning:"messages that this process may send to the emergency stream in a minute"`
	ReclaimIdle      time.Duration `env:"OONA_RECLAIM_IDLE" envDefault:"30s" meaning:"idle time after which another consumer's entry is taken over; below 60s beside Python"`
	MaxAttempts      int           `env:"OONA_MAX_ATTEMPTS" envDefault:"5" meaning:"how often a handler may fail before a message is dead-lettered"`
	HandlerTimeout   time.Duration `env:"OONA_HANDLER_TIMEOUT" envDefault:"30s" meaning:"deadline of one handling of a batch"`

	DatabaseURL     string `env:"URZA_DATABASE_URL" envDefault:"sqlite:///./var/urza/catalog.db" meaning:"catalogue; four slashes make the path absolute"`
	ArtifactDir     string `env:"URZA_ARTIFACT_DIR" envDefault:"./var/urza/artifacts" meaning:"artifacts; the library root is its parent"`
	CacheTTLSeconds int64  `env:"URZA_CACHE_TTL_SECONDS" envDefault:"0" meaning:"age of a file past which its artifact expires, in seconds; 0 means never"`
	MaxArtifact     int64  `env:"URZA_MAX_ARTIFACT_BYTES" envDefault:"68719476736" meaning:"largest artifact that is added, in bytes; 0 means no limit"`
	MinFree         int64  `env:"URZA_MIN_FREE_BYTES" envDefault:"268435456" meaning:"what adding an artifact leaves free on its file system, in bytes"`
	Maintenance     string `env:"URZA_MAINTENANCE" envDefault:"quarantine" meaning:"what is done every hour about expired artifacts and files of this library that no record names: off, report, quarantine or delete; files that others put there are only reported"`
	ScrubRate       int    `env:"URZA_SCRUB_BYTES_PER_SECOND" envDefault:"33554432" meaning:"how fast all artifacts are hashed again once a day, in bytes; 0 means not at all"`

	PolicyDir           string `env:"TAMIYO_POLICY_DIR" envDefault:"./var/tamiyo/policies" meaning:"where the last policies are kept"`
	VerifyUpdates       bool   `env:"TAMIYO_VERIFY_UPDATES" envDefault:"true" meaning:"check the version and the age of policy updates"`
	UpdateFreshnessSec  int64  `env:"TAMIYO_UPDATE_FRESHNESS_SEC" envDefault:"0" meaning:"oldest policy update that is accepted, in seconds; 0 means any"`
	ArchitectureVersion string `env:"TAMIYO_ARCHITECTURE_VERSION" unset:"(any)" meaning:"version that a policy update must be for; empty means any"`

	Commands bool `env:"KASMINA_COMMANDS" envDefault:"false" meaning:"carry out signed commands for seeds, which this service then owns"`

	TelemetryInterval time.Duration `env:"WEATHERLIGHT_TELEMETRY_INTERVAL" envDefault:"10s" meaning:"time between telemetry packets"`
	MetricsAddr       string        `env:"WEATHERLIGHT_METRICS_ADDR" unset:"(nowhere)" meaning:"where /metrics and /healthz are served over HTTP, as host:port or :port; empty means nowhere"`
	EmergencyHold     time.Duration `env:"WEATHERLIGHT_EMERGENCY_HOLD" envDefault:"5m" meaning:"how long health shows an emergency signal after the last one"`
	BootTimeout       time.Duration `env:"WEATHERLIGHT_BOOT_TIMEOUT" envDefault:"30s" meaning:"how long to wait for Redis and for all workers at start"`
	ShutdownTimeout   time.Duration `env:"WEATHERLIGHT_SHUTDOWN_TIMEOUT" envDefault:"10s" meaning:"how long an orderly stop may take"`

	LogLevel  logLevel  `env:"ESP_LOG_LEVEL" envDefault:"INFO" meaning:"DEBUG, INFO, WARNING, ERROR or CRITICAL"`
	LogFormat logFormat `env:"LOG_FORMAT" envDefault:"auto" meaning:"auto (text on a terminal), text or json"`
}

// loadSettings reads the environment and the .env file, and also returns the
// variables that they have. Every error is a usage error of one line that names the
// variable, and shows no secret.
func loadSettings(environ []string) (settings, map[string]string, error) {
	vars, err := variables(environ)
	if err != nil {
		return settings{}, nil, err
	}
	s, err := parseSettings(vars)
	return s, vars, err
}

// parseSettings is loadSettings for variables that are known.
func parseSettings(vars map[string]string) (settings, error) {
	var s settings
	if err := env.ParseWithOptions(&s, env.Options{Environment: vars}); err != nil {
		return settings{}, settingsError(err, vars)
	}
	return s, s.validate()
}

// variables merges the .env file under the environment. Empty counts as unset, and
// what has no name, as Windows keeps its current folders, as not there.
func variables(environ []string) (map[string]string, error) {
	vars, err := readDotenv()
	if err != nil {
		return nil, err
	}
	maps.Copy(vars, env.ToMap(environ))
	maps.DeleteFunc(vars, func(name, value string) bool { return name == "" || value == "" })
	dropBlankSecrets(vars)
	return vars, nil
}

// settingsError names the variable of the first field that did not parse.
func settingsError(err error, vars map[string]string) error {
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok || len(aggregate.Errors) == 0 {
		return usageErrorf("settings: %w", err)
	}
	parse, ok := errors.AsType[env.ParseError](aggregate.Errors[0])
	if !ok {
		return usageErrorf("settings: %w", aggregate.Errors[0])
	}
	field, _ := reflect.TypeFor[settings]().FieldByName(parse.Name)
	name := field.Tag.Get("env")
	if field.Type == reflect.TypeFor[secretList]() {
		return usageErrorf("%s: %s", name, reasonText(parse.Err))
	}
	return usageErrorf("%s=%q: %s", name, vars[name], cmp.Or(numberText(field.Type, parse.Err), reasonText(parse.Err)))
}

// numberText says what is wrong with what should be a number or a bool, "" if it
// is about anything else.
func numberText(t reflect.Type, err error) string {
	_, number := errors.AsType[*strconv.NumError](err)
	switch {
	case !number:
		return ""
	case t.Kind() == reflect.Bool:
		return "neither true nor false"
	case errors.Is(err, strconv.ErrRange):
		return "too large"
	}
	return "not a whole number"
}

// reasonText says what is wrong with a value, without the name of a Go function.
func reasonText(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 && strings.HasPrefix(text, "strconv.") {
		text = text[i+2:]
	}
	for _, noise := range []string{"unable to parse duration: ", "time: ", "leyline: "} {
		text = strings.TrimPrefix(text, noise)
	}
	return text
}

// validate checks what the types do not.
func (s settings) validate() error {
	for _, f := range []struct {
		name  string
		ok    bool
		wants string
	}{
		{"KERNEL_FRESHNESS_WINDOW_MS", s.FreshnessMS > 0, "more than 0"},
		{"KERNEL_NONCE_CACHE_SIZE", s.NonceCacheSize > 0, "more than 0"},
		{"LEYLINE_CLOCK_SKEW", s.ClockSkew >= 0, "0s or more"},
		{"KERNEL_FRESHNESS_WINDOW_MS", s.FreshnessMS <= (oona.MaxRetention - s.ClockSkew).Milliseconds(),
			fmt.Sprintf("at most %d, less LEYLINE_CLOCK_SKEW: so long are nonces kept", oona.MaxRetention.Milliseconds())},
		{"OONA_MESSAGE_TTL_MS", s.MessageTTLMS > 0, "more than 0"},
		{"OONA_MAX_MESSAGE_BYTES", s.MaxMessageBytes > 0, "more than 0"},
		{"OONA_MAX_QUEUE_DEPTH", s.MaxQueueDepth > 0, "more than 0"},
		{"OONA_EMERGENCY_PER_MINUTE", s.EmergencyRate > 0, "more than 0"},
		{"OONA_RECLAIM_IDLE", s.ReclaimIdle >= time.Second, "1s or more"},
		{"OONA_MAX_ATTEMPTS", s.MaxAttempts > 0, "1 or more"},
		{"OONA_HANDLER_TIMEOUT", s.HandlerTimeout > 0, "more than 0s"},
		{"URZA_CACHE_TTL_SECONDS", s.CacheTTLSeconds >= 0, "0 or more"},
		{"URZA_MAX_ARTIFACT_BYTES", s.MaxArtifact >= 0, "0 or more"},
		{"URZA_MIN_FREE_BYTES", s.MinFree >= 0, "0 or more"},
		{"URZA_MAINTENANCE", validMaintenance(s.Maintenance), "off, report, quarantine or delete"},
		{"URZA_SCRUB_BYTES_PER_SECOND", s.ScrubRate >= 0, "0 or more"},
		{"TAMIYO_UPDATE_FRESHNESS_SEC", s.UpdateFreshnessSec >= 0, "0 or more"},
		{"WEATHERLIGHT_TELEMETRY_INTERVAL", s.TelemetryInterval > 0, "more than 0s"},
		{"WEATHERLIGHT_EMERGENCY_HOLD", s.EmergencyHold > 0, "more than 0s"},
		{"WEATHERLIGHT_BOOT_TIMEOUT", s.BootTimeout > 0, "more than 0s"},
		{"WEATHERLIGHT_SHUTDOWN_TIMEOUT", s.ShutdownTimeout > 0, "more than 0s"},
	} {
		if !f.ok {
			return usageErrorf("%s must be %s", f.name, f.wants)
		}
	}
	if s.MetricsAddr != "" {
		_, port, err := net.SplitHostPort(s.MetricsAddr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return usageErrorf("WEATHERLIGHT_METRICS_ADDR: %w", err)
		}
	}
	return nil
}

func (s settings) streams() oona.Streams {
	return oona.Streams{
		Normal:         s.NormalStream,
		Emergency:      s.EmergencyStream,
		Telemetry:      s.TelemetryStream,
		Policy:         s.PolicyStream,
		KernelRequests: s.RequestStream,
		KernelReady:    s.ReadyStream,
		KernelErrors:   s.ErrorStream,
		DeadLetter:     s.DeadLetterStream,
	}
}

func (s settings) messageTTL() time.Duration { return time.Duration(s.MessageTTLMS) * time.Millisecond }

// logLevel is a slog level under the names of Python's logging.
type logLevel struct{ slog.Level }

// UnmarshalText reads a level by its Python name.
func (l *logLevel) UnmarshalText(text []byte) error {
	switch strings.ToUpper(string(text)) {
	case "DEBUG":
		l.Level = slog.LevelDebug
	case "INFO":
		l.Level = slog.LevelInfo
	case "WARN", "WARNING":
		l.Level = slog.LevelWarn
	case "ERROR":
		l.Level = slog.LevelError
	case "CRITICAL", "FATAL":
		l.Level = slog.LevelError + 4
	default:
		return errors.New("none of DEBUG, INFO, WARNING, ERROR, CRITICAL")
	}
	return nil
}

// logFormat is how logs are written.
type logFormat string

// UnmarshalText reads a format.
func (f *logFormat) UnmarshalText(text []byte) error {
	switch t := logFormat(text); t {
	case "auto", "text", "json":
		*f = t
		return nil
	}
	return errors.New("none of auto, text, json")
}
