package urza

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"regexp"
	"strings"
)

// artifactName returns a file name that no other artifact ever has: blueprint
// and content for people, random digits for certainty. A name that a second
// save shared could be removed by the save in between.
func artifactName(blueprintID, sum, source string) string {
	var random [6]byte
	rand.Read(random[:]) // never fails
	return slug(blueprintID) + "-" + sum[:16] + "-" + hex.EncodeToString(random[:]) + extension(source)
}

// slug returns what of a blueprint id can be part of a file name anywhere.
func slug(blueprintID string) string {
	const longest = 64
	clean := strings.Map(func(r rune) rune {
		switch {
		case '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', r == '_', r == '.':
			return r
		}
		return '_'
	}, blueprintID)
	clean = strings.TrimLeft(clean[:min(len(clean), longest)], ".")
	if clean == "" {
		return "blueprint"
	}
	return clean
}

func extension(source string) string {
	const longest = 16
	ext := filepath.Ext(source)
	if len(ext) < 2 || len(ext) > longest || slug(ext[1:]) != ext[1:] {
		return ""
	}
	return ext
}

// ownName matches the names that artifactName gives, and those of drafts.
var ownName = regexp.MustCompile(
	`^(?:[0-9A-Za-z_][0-9A-Za-z_.]{0,63}-[0-9a-f]{16}-[0-9a-f]{12}(?:\.[0-9A-Za-z_]{1,15})?|` +
		regexp.QuoteMeta(draftPrefix) + `[0-9a-f]{24})$`)

// isOwnName reports whether this package gives files such names. Whoever else
// puts files into the artifact directory names them in another way.
func isOwnName(base string) bool { return ownName.MatchString(base) }
