package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esper-lite/esper/leyline"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the resolved settings, secrets masked",
		Long: `Prints every setting with the value that is in force, whether that is the default
or was set, in the environment or in .env, and what it means. Secrets are masked.
A variable that looks like a setting and is none is told of on stderr.`,
		Args: argsError(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, vars, err := loadSettings(a.environ)
			if err != nil {
				return err
			}
			warnOfUnknown(vars, newLogger(a.Err, s.LogFormat, slog.LevelWarn))
			list := s.describe(vars)
			if a.json {
				return printJSON(a.Out, list)
			}
			rows := make([][]string, len(list))
			for i, l := range list {
				rows[i] = []string{l.Name, l.text(), l.from(), l.Meaning}
			}
			return printTable(a.Out, []string{"SETTING", "VALUE", "FROM", "MEANING"}, rows)
		},
	}
}

// setting is one line of the manual.
type setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"` // in force; empty where there is none
	Set     bool   `json:"set"`   // by the environment or .env; else it is the default
	Default string `json:"default"`
	Meaning string `json:"meaning"`
	Path    string `json:"path,omitempty"` // absolute, of the file or folder that the value names

	unset string // what to show where there is no value
}

// What stands in place of the secret where it has no value of its own.
const (
	secretMissing = "(not set: required)"
	secretInFile  = "(in the file of ESPER_LEYLINE_SECRET_FILE)"
)

// text is the value, or what stands in its place, and where a relative path leads.
func (s setting) text() string {
	if s.Path != "" && !strings.HasSuffix(s.Value, s.Path) {
		return s.Value + " (" + s.Path + ")"
	}
	return cmp.Or(s.Value, s.unset)
}

// from says where the value comes from.
func (s setting) from() string {
	switch {
	case s.Set:
		return "set"
	case s.unset == secretMissing:
		return "missing"
	case s.unset == secretInFile:
		return "file"
	}
	return "default"
}

// describe lists every setting with the value in force, given the variables that
// it was read from. Secrets are masked, and so are the credentials in addresses.
func (s settings) describe(vars map[string]string) []setting {
	v := reflect.ValueOf(s)
	list := make([]setting, 0, v.NumField())
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		l := setting{
			Name:    tag.Get("env"),
			Value:   shown(tag.Get("env"), v.Field(i).Interface()),
			Default: cmp.Or(tag.Get("envDefault"), s.unsetName(tag.Get("unset"))),
			Meaning: tag.Get("meaning"),
			unset:   tag.Get("unset"),
		}
		_, l.Set = vars[l.Name]
		if l.Value == "" {
			l.Value = l.Default
		}
		l.Path = namedPath(l.Name, l.Value)
		if l.Name == "ESPER_LEYLINE_SECRET" && s.SecretFile != "" {
			l.unset = secretInFile
		}
		list = append(list, l)
	}
	slices.SortStableFunc(list, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// namedPath returns the absolute path that the value of a setting names, "" where
// it names none.
func namedPath(name, value string) string {
	switch name {
	case "URZA_DATABASE_URL":
		_, value, _ = strings.Cut(value, "://")
		value, _, _ = strings.Cut(value, "?")
		value = strings.TrimPrefix(value, "/")
		if value == ":memory:" {
			return ""
		}
	case "URZA_ARTIFACT_DIR", "TAMIYO_POLICY_DIR", "ESPER_LEYLINE_SECRET_FILE", "ESPER_LEYLINE_SECRET_ACCEPTED_FILE":
	default:
		return ""
	}
	if value == "" {
		return ""
	}
	path, err := filepath.Abs(value)
	if err != nil {
		return ""
	}
	return path
}

// unsetName returns the name that holds where none is set, as oona knows it; ""
// for what is no name.
func (s settings) unsetName(unset string) string {
	if strings.HasPrefix(unset, "(") {
		return ""
	}
	scheme, _, _ := strings.Cut(s.RedisURL, "://")
	if rest, ok := strings.CutPrefix(unset, "oona"); ok && strings.HasSuffix(scheme, "+cluster") {
		return "{oona}" + rest
	}
	return unset
}

// shown is the text of a value that may be shown.
func shown(name string, value any) string {
	switch v := value.(type) {
	case leyline.Secret:
		if v.IsZero() {
			return ""
		}
	case secretList:
		if len(v) == 0 {
			return ""
		}
	case string:
		if name == "REDIS_URL" {
			return maskURL(v)
		}
	}
	return fmt.Sprint(value)
}

// maskURL hides user and password of an address, and everything that it does
// not understand.
func maskURL(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return "[not an address]"
	}
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "***@" + rest[at+1:]
	}
	if query != "" {
		rest += "?***"
	}
	return scheme + "://" + rest
}
