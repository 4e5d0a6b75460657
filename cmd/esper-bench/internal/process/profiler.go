package process

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profiler writes the profiles of one measurement.
type profiler struct {
	want  Profiles
	cpu   *os.File
	trace *os.File
}

// start begins to record. Mutex and block profiles count every event.
func (p *profiler) start() (err error) {
	if p.want.CPU != "" {
		if p.cpu, err = os.Create(p.want.CPU); err == nil {
			err = pprof.StartCPUProfile(p.cpu)
		}
		if err != nil {
			return err
		}
	}
	if p.want.Trace != "" {
		if p.trace, err = os.Create(p.want.Trace); err == nil {
			err = trace.Start(p.trace)
		}
		if err != nil {
			return err
		}
	}
	if p.want.Mutex != "" {
		runtime.SetMutexProfileFraction(1)
	}
	if p.want.Block != "" {
		runtime.SetBlockProfileRate(1)
	}
	return nil
}

// stop writes the files.
func (p *profiler) stop() error {
	var errs []error
	if p.cpu != nil {
		pprof.StopCPUProfile()
		errs = append(errs, p.cpu.Close())
		p.cpu = nil
	}
	if p.trace != nil {
		trace.Stop()
		errs = append(errs, p.trace.Close())
		p.trace = nil
	}
	for name, path := range map[string]string{"allocs": p.want.Mem, "mutex": p.want.Mutex, "block": p.want.Block} {
		if path != "" {
			errs = append(errs, write(name, path))
		}
	}
	return errors.Join(errs...)
}

func write(name, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}
