package main

import (
	"context"
	"time"
)

// importer is a worker that beats, so that the supervisor notices when it hangs. It
// has two bugs, each of which shows once.
type importer struct {
	lives int
	done  func()
}

func (i *importer) run(ctx context.Context, ready, beat func()) error {
	i.lives++
	ready()
	switch i.lives {
	case 1:
		panic("line 3 is empty")
	case 2:
		<-ctx.Done() // stands for a call that hangs until it is cancelled
		return ctx.Err()
	}
	for line := 3; ; line++ { // a worker that returns before it is told to has failed
		beat()
		if line == 10 {
			i.done()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond): // imports the line
		}
	}
}
