package weatherlight_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

//go:noinline
func explode(depth int) {
	if depth > 0 {
		explode(depth - 1)
		return
	}
	var none []int
	none[depth] = 1
}

func TestPanicKeepsValueAndStack(t *testing.T) {
	for name, depth := range map[string]int{"shallow": 0, "deeper than what is kept": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSupervisor(t, weatherlight.Config{})
				h := add(t, s, weatherlight.Spec{
					Name:    "a",
					Restart: weatherlight.Temporary,
					Worker: weatherlight.WorkerFunc(func(context.Context) error {
						explode(depth)
						return nil
					}),
				})
				weatherlighttest.Start(t, s)
				synctest.Wait()
				p, ok := errors.AsType[*weatherlight.PanicError](h.Status().LastFailure.Err)
				if !ok {
					t.Fatalf("failure %v, want a PanicError", h.Status().LastFailure.Err)
				}
				if _, ok := errors.AsType[runtime.Error](p); !ok {
					t.Errorf("value %v does not unwrap to a runtime.Error", p.Value)
				}
				if !strings.HasPrefix(p.Error(), "panic: runtime error: index out of range") {
					t.Errorf("%q", p)
				}
				stack := p.Stack()
				inner, _, found := strings.Cut(stack, "weatherlight_test.explode\n\t")
				if !found || !strings.Contains(stack, "panic_test.go:") {
					t.Fatalf("the stack does not show where it happened:\n%s", stack)
				}
				if strings.Contains(inner, "weatherlight.") {
					t.Errorf("the stack begins with our own calls:\n%s", stack)
				}
				if n := strings.Count(stack, "\n\t"); n > 64 {
					t.Errorf("%d calls are kept", n)
				}
			})
		})
	}
}

func TestPanicOfNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addWorker(t, s, weatherlight.Spec{Name: "a"})
		weatherlighttest.Start(t, s)
		w.Panic(nil)
		synctest.Wait()
		if _, ok := errors.AsType[*runtime.PanicNilError](h.Status().LastFailure.Err); !ok {
			t.Errorf("failure %v", h.Status().LastFailure.Err)
		}
	})
}

// A Goexit ends the goroutine: the worker must go on in another one, and Run must
// not wait for the one that is gone.
func TestGoexitIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce}})
		r := weatherlighttest.Start(t, s)
		for range 3 {
			w.Goexit()
		}
		synctest.Wait()
		if w.Lives() != 4 || h.Status().State != weatherlight.StateRunning {
			t.Errorf("%d lives, %v", w.Lives(), h.Status().State)
		}
		if err := h.Status().LastFailure.Err; !errors.Is(err, weatherlight.ErrGoexit) {
			t.Errorf("failure %v", err)
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestGoexitWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		add(t, s, weatherlight.Spec{Name: "a", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			runtime.Goexit()
			return nil
		})})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
}

const letThrough = "WEATHERLIGHT_TEST_LET_PANICS_THROUGH"

func TestPanicLetThroughEndsTheProcess(t *testing.T) {
	if os.Getenv(letThrough) != "" {
		s, _ := newSupervisor(t, weatherlight.Config{})
		add(t, s, weatherlight.Spec{
			Name:   "a",
			Panics: weatherlight.LetPanicsThrough,
			Worker: weatherlight.WorkerFunc(func(context.Context) error {
				explode(0)
				return nil
			}),
		})
		s.Run(t.Context())
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), letThrough+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "runtime error: index out of range") || !strings.Contains(string(out), "weatherlight_test.explode") {
		t.Errorf("%v, want a crash that shows where:\n%s", err, out)
	}
}
