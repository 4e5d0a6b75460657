package urza

import (
	"math"
	"strconv"
	"strings"
)

// formatFloat writes f as Python's json does: the shortest digits that read
// back as the same number of bitSize bits, a fraction on whole numbers (so that
// Python reads a float again), an exponent below 1e-4 and from 1e16 on.
func formatFloat(f float64, bitSize int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	text := strconv.FormatFloat(f, 'e', -1, bitSize)
	if exponent, _ := strconv.Atoi(text[strings.IndexByte(text, 'e')+1:]); exponent < -4 || exponent >= 16 {
		return text
	}
	text = strconv.FormatFloat(f, 'f', -1, bitSize)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// parseNumber reads a JSON number, or one of the words that Python writes for
// numbers that are not finite. Out of range is infinite, as in Python.
func parseNumber(text string) (float64, bool) {
	if text == "" || !strings.ContainsRune("-0123456789NI", rune(text[0])) {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || math.IsInf(f, 0)
}
