package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona/oonatest"
)

func (a *app) runCommand() *cobra.Command {
	var embedded bool
	var listen string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the service (the default)",
		Long: `Runs the service until SIGINT or SIGTERM, which stop it in order; a second
signal ends the process at once. With --embedded the bus is inside this process,
in memory, for other processes to join at --listen: for trying things out.`,
		Args: argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("listen") && !embedded {
				return usageErrorf("--listen needs --embedded")
			}
			if !embedded {
				listen = ""
			}
			return a.serve(cmd.Context(), listen)
		},
	}
	cmd.Flags().BoolVar(&embedded, "embedded", false, "run the bus inside this process instead of using REDIS_URL")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:6379", "where the embedded bus listens")
	return cmd
}

// minNonceCacheSize is the least capacity of a replay store in memory (contract
// section 6). The Python side's default is below it.
const minNonceCacheSize = 65536

// listen starts a bus of our own.
func listen(address string, log *slog.Logger) (*oonatest.Bus, error) {
	bus, err := oonatest.Listen(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usageErrorf("--listen %s: something listens there already; if it is a Redis, leave out --embedded, and REDIS_URL says where it is; otherwise take another address, as --listen 127.0.0.1:0", address)
	case err != nil:
		return nil, usageErrorf("--listen %s: %w", address, cmp.Or(errors.Unwrap(err), err))
	}
	if !onLoopback(bus.URL()) {
		log.Warn("the bus listens beyond this host, and asks nobody for a password: whoever reaches it can use it", "redis_url", bus.URL(), "only_here", "--listen 127.0.0.1:6379")
	}
	return bus, nil
}

// onLoopback reports whether only this host reaches the address.
func onLoopback(busURL string) bool {
	u, err := url.Parse(busURL)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}

// serve runs the service until a signal asks it to stop. A bus of our own
// listens at embedded, if that is not empty.
func (a *app) serve(ctx context.Context, embedded string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	s, err := a.settings()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(s.LogLevel.Level)
	limiter := leyline.NewLogLimiter(newLogger(a.Err, s.LogFormat, level).Handler(), leyline.LogLimit{})
	log := slog.New(limiter)
	quietRedis(log)
	if s.NonceCacheSize < minNonceCacheSize {
		log.Warn("a replay store of this size would forget too soon; nonces are kept in Redis, without a limit of their own",
			"setting", "KERNEL_NONCE_CACHE_SIZE", "value", s.NonceCacheSize, "least", minNonceCacheSize)
	}
	keys, err := openKeys(s, log)
	if err != nil {
		return err
	}
	if embedded != "" {
		bus, err := listen(embedded, log)
		if err != nil {
			return err
		}
		defer bus.Close()
		s.RedisURL = bus.URL()
		log.Warn("the bus is inside this process, in memory: it ends, with all messages, when this process does", "redis_url", s.RedisURL)
	}
	started := time.Now()
	id := newIdentity()
	svc, err := newService(ctx, s, keys.Keyring(), id, log)
	if err != nil {
		if ctx.Err() != nil {
			log.Info("shutdown complete", "before", "start")
			return nil
		}
		return err
	}
	var aside sync.WaitGroup
	aside.Go(func() { reloadKeys(ctx, keys, log) })
	aside.Go(func() { svc.secret.run(ctx) })
	aside.Go(func() { switchLevel(ctx, level, log) })
	aside.Go(func() { newNotifier(log, svc.supervisor.Snapshot).run(ctx) })
	err = svc.run(ctx)
	stop() // also when it ended by itself
	aside.Wait()
	err = errors.Join(err, svc.close())
	limiter.Flush()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	log.Info("shutdown complete", "uptime", time.Since(started).Round(time.Millisecond).String())
	return nil
}
