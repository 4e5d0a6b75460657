package oonatest_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona/oonatest"
)

// faulty runs a test with a client whose commands go through faults.
func faulty(t *testing.T, test func(t *testing.T, f *oonatest.Faults, rdb *redis.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		defer func() { _ = rdb.Close() }()
		test(t, f, rdb)
	})
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name    string
		fault   oonatest.Fault
		err     error  // in what the second of three commands returns
		text    string // likewise
		effect  string // how often the three took effect together
		lasting time.Duration
	}{
		{"none", oonatest.Fault{}, nil, "", "3", 0},
		{"before", oonatest.Fault{Kind: oonatest.BreakBefore}, io.EOF, "broken by a fault", "2", 0},
		{"after", oonatest.Fault{Kind: oonatest.BreakAfter}, io.EOF, "broken by a fault", "3", 0},
		{"refused", oonatest.Fault{Kind: oonatest.Refused}, nil, "ERR injected fault", "2", 0},
		{"refused in other words", oonatest.Fault{Kind: oonatest.Refused, Reply: "LOADING wait"}, nil, "LOADING wait", "2", 0},
		{"delayed", oonatest.Fault{Kind: oonatest.Delayed, Delay: 2 * time.Second}, nil, "", "3", 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			faulty(t, func(t *testing.T, f *oonatest.Faults, rdb *redis.Client) {
				f.At(2, test.fault)
				start := time.Now()
				var errs [3]error
				for i := range errs {
					errs[i] = rdb.Incr(t.Context(), "n").Err()
				}
				if errs[0] != nil || errs[2] != nil {
					t.Errorf("the others: %v, %v", errs[0], errs[2])
				}
				switch err := errs[1]; {
				case (err != nil) != (test.text != ""), test.err != nil && !errors.Is(err, test.err), err != nil && !strings.Contains(err.Error(), test.text):
					t.Errorf("error %v, want %q", err, test.text)
				}
				if took := time.Since(start); took != test.lasting {
					t.Errorf("took %v", took)
				}
				if got := rdb.Get(t.Context(), "n").Val(); got != test.effect {
					t.Errorf("%s took effect, want %s", got, test.effect)
				}
				if diff := cmp.Diff([]string{"INCR", "INCR", "INCR", "GET"}, f.Commands()); diff != "" {
					t.Errorf("commands (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// In a pipeline the commands before the fault take effect; those behind a broken
// connection never arrive. go-redis then says of none of them that it succeeded.
func TestFaultsInPipelines(t *testing.T) {
	for _, test := range []struct {
		kind   oonatest.FaultKind
		effect string
		failed []bool
	}{
		{oonatest.BreakBefore, "2", []bool{true, true, true, true, true}},
		{oonatest.BreakAfter, "3", []bool{true, true, true, true, true}},
		{oonatest.Refused, "4", []bool{false, false, true, false, false}},
	} {
		faulty(t, func(t *testing.T, f *oonatest.Faults, rdb *redis.Client) {
			f.At(3, oonatest.Fault{Kind: test.kind})
			pipe := rdb.Pipeline()
			for range 5 {
				pipe.Incr(t.Context(), "n")
			}
			cmds, _ := pipe.Exec(t.Context())
			var failed []bool
			for _, cmd := range cmds {
				failed = append(failed, cmd.Err() != nil)
			}
			if diff := cmp.Diff(test.failed, failed); diff != "" {
				t.Errorf("kind %d, failed (-want +got):\n%s", test.kind, diff)
			}
			if got := rdb.Get(t.Context(), "n").Val(); got != test.effect {
				t.Errorf("kind %d: %s took effect, want %s", test.kind, got, test.effect)
			}
		})
	}
}

// Replies of any size pass through as they are.
func TestFaultsPassOn(t *testing.T) {
	faulty(t, func(t *testing.T, f *oonatest.Faults, rdb *redis.Client) {
		large := strings.Repeat("x\r\n$5\r\n", 50_000)
		if err := rdb.Set(t.Context(), "large", large, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := rdb.Get(t.Context(), "large").Val(); got != large {
			t.Errorf("%d bytes, want %d", len(got), len(large))
		}
		f.Plan(nil)
		if len(f.Commands()) != 0 {
			t.Error("a new plan counts anew")
		}
	})
}
