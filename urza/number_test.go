package urza_test

import (
	"math"
	"testing"

	"github.com/esper-lite/esper/urza"
)

// The texts are those of Python's repr, for a float32 those of MessageToDict.
func TestFormatFloat(t *testing.T) {
	for _, test := range []struct {
		f    float64
		bits int
		want string
	}{
		{0, 64, "0.0"},
		{math.Copysign(0, -1), 64, "-0.0"},
		{104, 64, "104.0"},
		{24.1, 64, "24.1"},
		{float64(float32(24.1)), 64, "24.100000381469727"},
		{float64(float32(24.1)), 32, "24.1"},
		{float64(float32(0.4)), 32, "0.4"},
		{1795423169.6400316, 64, "1795423169.6400316"},
		{0.0001, 64, "0.0001"},
		{0.00001, 64, "1e-05"},
		{1e-6, 64, "1e-06"},
		{123456789012345680, 64, "1.2345678901234568e+17"},
		{9999999999999998, 64, "9999999999999998.0"},
		{1e15, 64, "1000000000000000.0"},
		{1e16, 64, "1e+16"},
		{1e22, 64, "1e+22"},
		{5e-324, 64, "5e-324"},
		{math.MaxFloat64, 64, "1.7976931348623157e+308"},
		{math.NaN(), 64, "NaN"},
		{math.Inf(1), 64, "Infinity"},
		{math.Inf(-1), 64, "-Infinity"},
	} {
		if got := urza.FormatFloat(test.f, test.bits); got != test.want {
			t.Errorf("%v: got %s, want %s", test.f, got, test.want)
		}
	}
}
