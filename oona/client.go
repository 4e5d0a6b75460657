package oona

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/sethvargo/go-retry"

	"github.com/esper-lite/esper/leyline"
)

// Client is a connection to the bus. It is safe for concurrent use. Close it
// when done; a Client does not close the redis client that [New] was given.
type Client struct {
	cfg   Config
	rdb   redis.UniversalClient
	conn  connector
	owned bool
	clock serverClock
	keys  keyspace
	log   *slog.Logger
	name  string // of this client among all: the consumer's, or one of its own
	stats stats

	consumers    consumers
	depths       depths
	additions    additions
	emergencies  *emergencies
	conservative conservative
	publishing   *breaker
}

// poolSize is the number of connections of a client of ours. Commands are few
// and large, so a few connections carry everything.
const poolSize = 8

// Connect dials the Redis at cfg.URL and checks that it can carry the bus. While
// Redis cannot be reached it tries again, with backoff, until ctx ends: bound
// it. The error then names the address, without credentials, and wraps what
// the last try said. A Redis that answers but cannot serve, because it evicts
// keys or refuses our password, fails at once.
//
// go-redis writes some of its troubles, such as a dial that failed, to stderr by
// itself, whatever cfg.Logger is. Its logger is one for the whole process, and so
// the program's to set, not this package's: [redis.SetLogger] with a new
// [logging.VoidLogger] silences it, and nothing is lost: what a call ran into, it
// returns.
//
// [logging.VoidLogger]: https://pkg.go.dev/github.com/redis/go-redis/v9/logging#VoidLogger
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	conn, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	rdb := conn.connect(poolSize, 0)
	c, err := newClient(ctx, rdb, conn, cfg)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	c.owned = true
	return c, nil
}

// New returns a client over one that the caller made, and keeps: a
// *redis.Client with MaxRetries -1, or a *redis.ClusterClient. It waits for
// Redis as [Connect] does. Hooks of rdb must not keep what a command carries after it
// returned: that memory is used again.
func New(ctx context.Context, rdb redis.UniversalClient, cfg Config) (*Client, error) {
	conn, err := connectorOf(rdb)
	if err != nil {
		return nil, err
	}
	return newClient(ctx, rdb, conn, cfg)
}

func newClient(ctx context.Context, rdb redis.UniversalClient, conn connector, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Streams = cfg.Streams.withDefaults(conn.cluster)
	if err := cfg.Streams.validate(conn.cluster); err != nil {
		return nil, err
	}
	c := &Client{
		cfg:  cfg,
		rdb:  rdb,
		conn: conn,
		keys: newKeyspace(conn.cluster, cfg.Guard.Retention()),
		log:  cfg.Logger,
		name: cmp.Or(cfg.Consumer, uuid.NewString()),

		emergencies: newEmergencies(cfg.EmergencyPerMinute),
	}
	c.publishing = newBreaker(&c.stats.publishBreaks)
	if err := c.waitForServer(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// waitForServer returns when the server answered, or ctx ended.
func (c *Client) waitForServer(ctx context.Context) error {
	backoff := retry.WithCappedDuration(time.Second, retry.NewExponential(50*time.Millisecond))
	var last error
	err := retry.Do(ctx, backoff, func(ctx context.Context) error {
		now, err := c.rdb.Time(ctx).Result()
		if err != nil {
			if _, answered := errors.AsType[redis.Error](err); answered && !transient(err) {
				return fmt.Errorf("oona: redis at %s: %w", c.conn.address, err)
			}
			last = err
			return retry.RetryableError(err)
		}
		c.clock.set(now)
		if err := c.checkServer(ctx); err != nil {
			if errors.Is(err, ErrEvicting) {
				return err
			}
			last = err
			return retry.RetryableError(err)
		}
		return nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("oona: redis at %s cannot be reached: %w", c.conn.address, last)
	}
	return err
}

// Streams returns the names of the streams, defaults filled in.
func (c *Client) Streams() Streams { return c.cfg.Streams }

// Guard returns the guard that judges freshness.
func (c *Client) Guard() *leyline.Guard { return c.cfg.Guard }

// Address returns where Redis is, without credentials.
func (c *Client) Address() string { return c.conn.address }

// Now returns the time by the server's clock, as last seen.
func (c *Client) Now() time.Time { return c.clock.now() }

// Ping asks the server whether it answers.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("oona: redis at %s: %w", c.conn.address, err)
	}
	return nil
}

// Close closes the connections that Connect made.
func (c *Client) Close() error {
	if !c.owned {
		return nil
	}
	if err := c.rdb.Close(); err != nil {
		return fmt.Errorf("oona: close: %w", err)
	}
	return nil
}
