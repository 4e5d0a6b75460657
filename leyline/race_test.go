//go:build race

package leyline_test

const raceEnabled = true
