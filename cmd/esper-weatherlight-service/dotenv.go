package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

// readDotenv reads the .env file of the working directory; without one there are
// no variables. An error names the file and the line, and shows nothing of what
// stands there, which may be a secret.
func readDotenv() (map[string]string, error) {
	path, err := filepath.Abs(".env")
	if err != nil {
		return nil, usageErrorf(".env: %w", err)
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return make(map[string]string), nil
	case err != nil:
		return nil, usageErrorf("%w", err) // names the path
	}
	vars, err := parseDotenv(string(text))
	if err == nil {
		return vars, nil
	}
	wrong := "is not NAME=value"
	if strings.HasPrefix(err.Error(), "unterminated quoted value") {
		wrong = "has a quote that is not closed"
	}
	return nil, usageErrorf("%s line %d %s", path, brokenLine(string(text)), wrong)
}

// parseDotenv is the parser of a .env file, which would take "=value" for a variable
// without a name.
func parseDotenv(text string) (map[string]string, error) {
	vars, err := godotenv.Unmarshal(text)
	if _, nameless := vars[""]; nameless && err == nil {
		err = errors.New("a value without a name")
	}
	return vars, err
}

// longestStatement is what a statement has at most while an error is looked for, in
// bytes.
const longestStatement = 64 << 10

// brokenLine returns the number of the line that the first statement begins on
// which the parser does not understand: it says what is wrong, but not where. A
// statement may have more lines than one, so each is tried with those after it, as
// far as a statement may be expected to go.
func brokenLine(text string) int {
	lines := strings.SplitAfter(text, "\n")
	good := 0
	for n, size := 0, 0; n < len(lines) && size < longestStatement; n++ {
		size += len(lines[n])
		if _, err := parseDotenv(strings.Join(lines[good:n+1], "")); err == nil {
			good, size = n+1, 0
		}
	}
	return min(good+1, len(lines))
}
