package urza

import "strings"

// This file finds where JSON values end. It checks the whole grammar, because
// values are kept as text and written back later.

func skipSpace(text string, i int) int {
	for i < len(text) {
		switch text[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// scanMembers reads the object that starts at text[i], hands every member to
// each as text, and returns the index after the closing brace.
func scanMembers(text string, i, depth int, each func(key, value string) error) (int, error) {
	return scanList(text, i, '}', func(i int) (int, error) {
		keyEnd, err := scanString(text, i)
		if err != nil {
			return 0, err
		}
		colon := skipSpace(text, keyEnd)
		if colon >= len(text) || text[colon] != ':' {
			return 0, errSyntax
		}
		start := skipSpace(text, colon+1)
		end, err := scanValue(text, start, depth+1)
		if err != nil {
			return 0, err
		}
		return end, each(text[i:keyEnd], text[start:end])
	})
}

// scanElements is scanMembers for the array that starts at text[i].
func scanElements(text string, i, depth int, each func(value string) error) (int, error) {
	return scanList(text, i, ']', func(i int) (int, error) {
		end, err := scanValue(text, i, depth+1)
		if err != nil {
			return 0, err
		}
		return end, each(text[i:end])
	})
}

// scanList reads what stands between the bracket at text[i] and closing.
func scanList(text string, i int, closing byte, one func(i int) (int, error)) (int, error) {
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == closing {
		return i + 1, nil
	}
	for {
		end, err := one(i)
		if err != nil {
			return 0, err
		}
		i = skipSpace(text, end)
		switch {
		case i >= len(text):
			return 0, errSyntax
		case text[i] == closing:
			return i + 1, nil
		case text[i] != ',':
			return 0, errSyntax
		}
		i = skipSpace(text, i+1)
	}
}

// scanValue returns the index after the value that starts at text[i].
func scanValue(text string, i, depth int) (int, error) {
	if i >= len(text) || depth > maxDepth {
		return 0, errSyntax
	}
	switch text[i] {
	case '{':
		return scanMembers(text, i, depth, func(string, string) error { return nil })
	case '[':
		return scanElements(text, i, depth, func(string) error { return nil })
	case '"':
		return scanString(text, i)
	}
	if word := words[text[i]]; word != "" && strings.HasPrefix(text[i:], word) {
		return i + len(word), nil
	}
	return scanNumber(text, i)
}

// words are the values that are neither quoted nor numbers, by their first
// byte, and the numbers that are no digits.
var words = [256]string{'n': "null", 't': "true", 'f': "false", 'N': "NaN", 'I': "Infinity", '-': "-Infinity"}

func scanString(text string, i int) (int, error) {
	if i >= len(text) || text[i] != '"' {
		return 0, errSyntax
	}
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return 0, errSyntax
		case c == '\\':
			i++
			if i >= len(text) {
				return 0, errSyntax
			}
			if text[i] == 'u' {
				if i+4 >= len(text) || !isHex(text[i+1:i+5]) {
					return 0, errSyntax
				}
				i += 4
			} else if strings.IndexByte(`"\/bfnrt`, text[i]) < 0 {
				return 0, errSyntax
			}
		}
	}
	return 0, errSyntax
}

func scanNumber(text string, i int) (int, error) {
	if i < len(text) && text[i] == '-' {
		i++
	}
	switch {
	case i < len(text) && text[i] == '0':
		i++
	default:
		end := skipDigits(text, i)
		if end == i {
			return 0, errSyntax
		}
		i = end
	}
	if i < len(text) && text[i] == '.' {
		end := skipDigits(text, i+1)
		if end == i+1 {
			return 0, errSyntax
		}
		i = end
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		end := skipDigits(text, i)
		if end == i {
			return 0, errSyntax
		}
		i = end
	}
	return i, nil
}

func skipDigits(text string, i int) int {
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}
