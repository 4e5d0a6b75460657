package supervisor_test

import (
	"testing"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/supervisor"
)

// A small comparison must give every figure, for both sides where both have it.
func TestCompare(t *testing.T) {
	rows, err := supervisor.Compare(t.Context(), supervisor.Options{
		Rounds: 1, Workers: []int{50}, Restarts: 50, Looks: 5, Backoff: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3+2+8+1 {
		t.Errorf("%d rows, want 14", len(rows))
	}
	for _, r := range rows {
		t.Logf("%-45s %14.1f %14.1f %s %8.3f", r.Name, r.Ours, r.Suture, r.Unit, r.Ratio)
		if r.Name == "" || r.Unit == "" || (r.Suture > 0) != (r.Ratio > 0) {
			t.Errorf("%+v", r)
		}
	}
}

func TestCompareOnly(t *testing.T) {
	rows, err := supervisor.Compare(t.Context(), supervisor.Options{Rounds: 2, Restarts: 10, Only: "by error"})
	if err != nil || len(rows) != 1 || rows[0].Ours <= 0 {
		t.Errorf("%+v, %v", rows, err)
	}
}
