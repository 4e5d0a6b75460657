// Nissa receives the telemetry of a fleet as the observability service does: as
// group nissa-service it reads oona.telemetry and oona.normal, takes metric values
// by name, counts events by description, writes every message as one JSON document
// with snake_case names, and shows it all to Prometheus.
//
//	NISSA_ADDR       where /metrics and /healthz are served, :9464 by default
//	NISSA_DOCUMENTS  the file that documents are added to, - for stdout, none by default
//
// Redis and the keys are set as for the service: REDIS_URL, OONA_TELEMETRY_STREAM,
// OONA_NORMAL_STREAM, ESPER_LEYLINE_SECRET and its variants; key files are read again
// every 5 seconds and at SIGHUP. "nissa healthcheck" asks the one that runs here
// whether it is up.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	addr := cmp.Or(os.Getenv("NISSA_ADDR"), ":9464")
	if len(os.Args) == 2 && os.Args[1] == "healthcheck" {
		if err := healthcheck(ctx, addr); err != nil {
			log.Error("not healthy", "error", err)
			os.Exit(3)
		}
		return
	}
	if err := run(ctx, addr, log); err != nil {
		log.Error("nissa ends", "error", err)
		os.Exit(1)
	}
	log.Info("shutdown complete")
}

// run receives until ctx ends.
func run(ctx context.Context, addr string, log *slog.Logger) (err error) {
	documents, err := openDocuments(os.Getenv("NISSA_DOCUMENTS"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, documents.Close()) }()
	keys, err := openKeys()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go keepKeys(ctx, keys, hangup, log)
	bus, err := connect(ctx, keys.Keyring(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("NISSA_ADDR: %w", err)
	}
	log.Info("receiving telemetry", "redis", bus.Address(), "metrics", "http://"+listener.Addr().String()+"/metrics")

	r := newReceiver(documents, log)
	server := &http.Server{Handler: r.routes(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		stop(err)
		served <- err
	}()
	err = r.receive(ctx, bus)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = server.Shutdown(grace) // a scrape that hangs does not hold up the end
	if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	return err
}

// connect connects with the settings of the service, for at most half a minute.
func connect(ctx context.Context, keys *leyline.Keyring, log *slog.Logger) (*oona.Client, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%x", host, time.Now().UnixNano()) // two processes never share one
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "nissa/" + name})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return oona.Connect(ctx, oona.Config{
		URL:      cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379/0"),
		Codec:    codec,
		Consumer: "nissa-" + name,
		Streams:  oona.Streams{Telemetry: os.Getenv("OONA_TELEMETRY_STREAM"), Normal: os.Getenv("OONA_NORMAL_STREAM")},
		Logger:   log,
	})
}

// openDocuments opens where documents go.
func openDocuments(path string) (io.WriteCloser, error) {
	switch path {
	case "":
		return nothing{io.Discard}, nil
	case "-":
		return nothing{os.Stdout}, nil
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

// nothing is a writer that is not ours to close.
type nothing struct{ io.Writer }

func (nothing) Close() error { return nil }
