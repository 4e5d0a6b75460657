package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// shortSeconds is a time in one or two units.
func shortSeconds(seconds float64) string {
	s := int64(math.Round(min(max(0, seconds), 1e9)))
	switch {
	case seconds < 0.95 && seconds > 0:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + "s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
}

// count is a whole number with its thousands apart.
func count(n float64) string {
	digits := strconv.FormatFloat(math.Round(min(max(n, -1e15), 1e15)), 'f', 0, 64)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// messages is a number of messages.
func messages(n float64) string {
	if math.Round(n) == 1 {
		return "1 message"
	}
	return count(n) + " messages"
}

// times is how often something happened.
func times(n float64) string {
	switch math.Round(n) {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return count(n) + " times"
}

// rate is a number per second: exact while it is small.
func rate(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n < 10:
		return strconv.FormatFloat(n, 'f', 2, 64)
	case n < 1000:
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return count(n)
}

// millis is a time in ms.
func millis(ms float64) string {
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return shortSeconds(ms / 1000)
}

// unknown stands for a figure that nobody told.
const unknown = "-"

func optional[T any](v *T, text func(T) string) string {
	if v == nil {
		return unknown
	}
	return text(*v)
}

func countOf(n int64) string { return count(float64(n)) }

// clipped shortens a line to width columns; what is cut is marked.
func clipped(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	if width <= 1 {
		return string(runes[:max(0, width)])
	}
	return string(runes[:width-1]) + "…"
}

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }
