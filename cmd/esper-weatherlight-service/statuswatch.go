package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// lookEvery is how often a watched fleet is looked at anew.
const lookEvery = time.Second

// watcher keeps a view of the fleet up to date, also while Redis is away.
type watcher struct {
	connect  func(context.Context) (*oona.Client, error)
	address  string // of Redis, before there is a client
	interval time.Duration
	look     statusFlags

	caughtUp atomic.Bool
	bus      busView
	awaySeen time.Time // since when Redis does not answer; zero if it does
	queues   queueReading
}

// watch shows the fleet until it is told to end: on a terminal as a live view,
// else a line for each thing that changes, or with --json a document every
// second.
func (a *app) watch(ctx context.Context, look statusFlags) error {
	s, keys, err := a.lookSettings(look.timeout)
	if err != nil {
		return err
	}
	// SIGHUP: the terminal is gone.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var aside sync.WaitGroup
	defer aside.Wait()
	defer stop()
	aside.Go(func() { reloadKeys(ctx, keys, slog.New(slog.DiscardHandler)) })
	w := newWatcher(s, keys, look)
	switch {
	case a.json:
		return w.run(ctx, jsonLines(a.Out))
	case drawable(a.Out, a.environ):
		return watchLive(ctx, w, a.Out, a.environ)
	}
	return w.run(ctx, newChangeLog(a.Out, newPalette(a.Out, a.environ)).show)
}

func newWatcher(s settings, keys *leyline.KeyFiles, look statusFlags) *watcher {
	return &watcher{
		connect:  func(ctx context.Context) (*oona.Client, error) { return connectToLook(ctx, s, keys.Keyring()) },
		address:  maskURL(s.RedisURL),
		interval: s.TelemetryInterval,
		look:     look,
	}
}

// drawable reports whether a live view can be drawn on w.
func drawable(w io.Writer, environ []string) bool {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(f.Fd()) {
		return false
	}
	for _, pair := range environ {
		if pair == "TERM=dumb" || pair == "TERM=" {
			return false
		}
	}
	return true
}

// run calls show with the newest view, every [lookEvery], until ctx ends. The
// error is show's, or that of settings that can never work.
func (w *watcher) run(ctx context.Context, show func(*fleetView) error) error {
	client, err := w.connected(ctx, show)
	if err != nil || client == nil {
		return err
	}
	defer func() { _ = client.Close() }()
	o := newObserver(client)
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	following.Go(func() { w.follow(ctx, o) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		w.ask(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		if w.caughtUp.Load() || !w.bus.Reachable {
			view := o.view(w.interval, w.look.since, w.bus, w.queues)
			if err := show(&view); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// connected connects, and says so while Redis is away. The client is nil if ctx
// ended first.
func (w *watcher) connected(ctx context.Context, show func(*fleetView) error) (*oona.Client, error) {
	for {
		client, err := w.connect(ctx)
		if err == nil {
			return client, nil
		}
		if code, _ := exitCode(err); code == exitUsage || errors.Is(err, oona.ErrEvicting) {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		w.note(err, w.address, time.Now())
		view := new(fleet).view(time.Now(), w.interval, w.bus, w.queues)
		if err := show(&view); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(lookEvery):
		}
	}
}

// follow reads what the fleet says until ctx ends.
func (w *watcher) follow(ctx context.Context, o *observer) {
	for ctx.Err() == nil {
		from, err := o.catchUp(ctx, w.look.since)
		if err == nil {
			w.caughtUp.Store(true)
			err = o.client.Follow(ctx, oona.Following{From: from, Types: observedTypes}, o)
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// ask asks Redis what waits, and thereby whether it answers.
func (w *watcher) ask(ctx context.Context, client *oona.Client) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.look.timeout, fmt.Errorf("no answer within %v", w.look.timeout))
	defer cancel()
	queues, err := readQueues(ctx, client)
	if err == nil {
		w.queues = queues
	} else {
		err = client.Ping(ctx) // it may only refuse to say what waits
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	w.note(err, client.Address(), time.Now())
}

// note keeps whether Redis answered just now.
func (w *watcher) note(err error, address string, now time.Time) {
	w.bus = busView{Address: address, Reachable: err == nil}
	if err == nil {
		w.awaySeen = time.Time{}
		return
	}
	if w.awaySeen.IsZero() {
		w.awaySeen = now
	}
	w.bus.Error = printable(err.Error())
	w.bus.AwayS = now.Sub(w.awaySeen).Seconds()
}
