package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/esper-lite/esper/weatherlight"
)

// notifier tells systemd how the service is (sd_notify(3)): READY once all
// workers are, STATUS in words, WATCHDOG while it is healthy, STOPPING at the
// end. Where there is no systemd it does nothing.
type notifier struct {
	log      *slog.Logger
	snapshot func() weatherlight.Snapshot
	send     func(state string) (bool, error)
	every    time.Duration // the watchdog wants to hear of us, zero for never
}

func newNotifier(log *slog.Logger, snapshot func() weatherlight.Snapshot) *notifier {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd watchdog is not usable", "error", err)
	}
	send := func(state string) (bool, error) { return daemon.SdNotify(false, state) }
	return &notifier{log, snapshot, send, every}
}

// statusInterval is how often the status line is renewed where no watchdog asks
// for more.
const statusInterval = 10 * time.Second

// run reports until ctx ends, which it reports last.
func (n *notifier) run(ctx context.Context) {
	defer n.notify(daemon.SdNotifyStopping)
	interval := statusInterval
	if n.every > 0 {
		interval = min(interval, n.every/2)
	}
	// Until all workers are ready, look more often: systemd waits.
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	ready := false
	for {
		s := n.snapshot()
		if !ready && s.Workers > 0 && s.Running == s.Workers {
			if !n.notify(daemon.SdNotifyReady) {
				return // nobody listens
			}
			ready = true
			ticker.Reset(interval)
		}
		n.notify("STATUS=" + statusLine(s))
		if n.every > 0 && healthy(s) {
			n.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

const readyPoll = 50 * time.Millisecond

// healthy reports whether systemd should leave the process alone. A worker that
// backs off is being taken care of; one that was given up never comes back, and
// a new process is what helps.
func healthy(s weatherlight.Snapshot) bool { return s.Abandoned == 0 }

func statusLine(s weatherlight.Snapshot) string {
	line := fmt.Sprintf("%d of %d workers running", s.Running, s.Workers)
	if s.BackingOff > 0 {
		line += fmt.Sprintf(", %d backing off", s.BackingOff)
	}
	if s.Abandoned > 0 {
		line += fmt.Sprintf(", %d given up", s.Abandoned)
	}
	return line
}

// notify sends one state and reports whether anybody received it.
func (n *notifier) notify(state string) bool {
	sent, err := n.send(state)
	if err != nil {
		n.log.Warn("cannot notify systemd", "error", err)
	}
	return sent
}
