package oona

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrAddress is returned for a Redis URL that cannot be used. It does not quote
// the URL, because that holds the password.
var ErrAddress = errors.New("oona: the Redis URL is not valid (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://)")

// connector makes clients of one address.
type connector struct {
	// Address is what may be shown: no user, no password.
	address string
	cluster bool
	// connect makes a client with so many connections, whose replies may take
	// that long; zero is what the address says, or what go-redis does.
	connect func(pool int, read time.Duration) redis.UniversalClient
}

// parseURL reads the address of a Redis. The forms are those of go-redis, plus
// redis+sentinel://user:pass@host:port,host2:port/master/db and
// redis+cluster://host:port,host2:port, with rediss+ for TLS.
func parseURL(raw string) (connector, error) {
	if raw == "" {
		return connector{}, fmt.Errorf("%w: it is empty", ErrAddress)
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return connector{}, ErrAddress
	}
	switch scheme {
	case "redis", "rediss", "unix":
		return standalone(raw)
	case "redis+sentinel", "rediss+sentinel":
		return sentinel(scheme == "rediss+sentinel", rest)
	case "redis+cluster", "rediss+cluster":
		return cluster(scheme == "rediss+cluster", rest)
	}
	return connector{}, ErrAddress
}

func standalone(raw string) (connector, error) {
	opt, err := redis.ParseURL(raw)
	if err != nil {
		return connector{}, ErrAddress
	}
	return connector{
		address: opt.Addr,
		connect: func(pool int, read time.Duration) redis.UniversalClient {
			o := *opt
			o.MaxRetries, o.PoolSize = noRetries, pool
			o.ContextTimeoutEnabled, o.DialerRetries = true, 1
			o.ReadTimeout = cmp.Or(read, o.ReadTimeout)
			o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
			o.ReadBufferSize, o.WriteBufferSize = buffers(read)
			return redis.NewClient(&o)
		},
	}, nil
}

// splitHosts separates the credentials, the hosts and what follows them.
func splitHosts(rest string) (user *url.Userinfo, hosts []string, path, query string, err error) {
	rest, query, _ = strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		u, err := url.Parse("redis://" + authority[:at] + "@h")
		if err != nil {
			return nil, nil, "", "", ErrAddress
		}
		user, authority = u.User, authority[at+1:]
	}
	for h := range strings.SplitSeq(authority, ",") {
		if h == "" {
			return nil, nil, "", "", ErrAddress
		}
		hosts = append(hosts, h)
	}
	return user, hosts, path, query, nil
}

// canonical writes a URL of the form that go-redis reads: the first host in the
// authority, the others as addr parameters.
func canonical(useTLS bool, user *url.Userinfo, hosts []string, path string, query url.Values) string {
	u := url.URL{Scheme: "redis", User: user, Host: hosts[0], Path: path}
	if useTLS {
		u.Scheme = "rediss"
	}
	for _, h := range hosts[1:] {
		query.Add("addr", h)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func sentinel(useTLS bool, rest string) (connector, error) {
	user, hosts, path, rawQuery, err := splitHosts(rest)
	if err != nil {
		return connector{}, err
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return connector{}, ErrAddress
	}
	master, db, _ := strings.Cut(strings.Trim(path, "/"), "/")
	if master == "" {
		return connector{}, fmt.Errorf("%w: a redis+sentinel URL needs the master's name: redis+sentinel://host:26379/master/0", ErrAddress)
	}
	query.Set("master_name", master)
	opt, err := redis.ParseFailoverURL(canonical(useTLS, user, hosts, db, query))
	if err != nil {
		return connector{}, ErrAddress
	}
	return connector{
		address: fmt.Sprintf("%s (master %s)", strings.Join(hosts, ","), master),
		connect: func(pool int, read time.Duration) redis.UniversalClient {
			o := *opt
			o.MaxRetries, o.PoolSize = noRetries, pool
			o.ContextTimeoutEnabled, o.DialerRetries = true, 1
			o.ReadTimeout = cmp.Or(read, o.ReadTimeout)
			o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
			o.ReadBufferSize, o.WriteBufferSize = buffers(read)
			return redis.NewFailoverClient(&o)
		},
	}, nil
}

func cluster(useTLS bool, rest string) (connector, error) {
	user, hosts, _, rawQuery, err := splitHosts(rest)
	if err != nil {
		return connector{}, err
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return connector{}, ErrAddress
	}
	opt, err := redis.ParseClusterURL(canonical(useTLS, user, hosts, "", query))
	if err != nil {
		return connector{}, ErrAddress
	}
	return connector{
		address: strings.Join(hosts, ","),
		cluster: true,
		connect: func(pool int, read time.Duration) redis.UniversalClient {
			o := *opt
			o.PoolSize = pool
			o.ContextTimeoutEnabled, o.DialerRetries = true, 1
			o.ReadTimeout = cmp.Or(read, o.ReadTimeout)
			o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
			o.ReadBufferSize, o.WriteBufferSize = buffers(read)
			return redis.NewClusterClient(&o)
		},
	}, nil
}

// connectorOf makes further clients like one that the caller made.
func connectorOf(rdb redis.UniversalClient) (connector, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		opt := *c.Options()
		if opt.MaxRetries > 0 {
			return connector{}, errors.New("oona: the redis client must be made with MaxRetries: -1, because a command repeated after a lost reply would publish twice")
		}
		return connector{address: opt.Addr, connect: func(pool int, read time.Duration) redis.UniversalClient {
			o := opt
			o.MaxRetries, o.PoolSize = noRetries, pool
			o.ContextTimeoutEnabled = true
			o.ReadTimeout = cmp.Or(read, o.ReadTimeout)
			o.TLSConfig = cloneTLS(opt.TLSConfig)
			return redis.NewClient(&o)
		}}, nil
	case *redis.ClusterClient:
		opt := *c.Options()
		return connector{address: strings.Join(opt.Addrs, ","), cluster: true, connect: func(pool int, read time.Duration) redis.UniversalClient {
			o := opt
			o.PoolSize = pool
			o.ContextTimeoutEnabled = true
			o.ReadTimeout = cmp.Or(read, o.ReadTimeout)
			o.TLSConfig = cloneTLS(opt.TLSConfig)
			return redis.NewClusterClient(&o)
		}}, nil
	}
	return connector{}, fmt.Errorf("oona: a %T cannot carry the bus; use *redis.Client or *redis.ClusterClient", rdb)
}

func cloneTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	return c.Clone()
}

const (
	// noRetries keeps go-redis from repeating a command whose reply was lost.
	noRetries = -1
	// dialTimeout, with one try per dial, leaves the patience to us.
	dialTimeout = 2 * time.Second
)

// buffers returns the sizes of a connection's buffers: a batch of usual messages fits
// into one, and so goes over in one system call. Connections that wait for entries
// get much and send little, the others the other way round. Zero is what go-redis
// takes.
func buffers(wait time.Duration) (read, write int) {
	const batch = 256 << 10 // bytes
	if wait > 0 {
		return batch, 0
	}
	return 0, batch
}
