package redisserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flush empties the server and forgets what it counted. Freeing is done when it
// returns, so that it does not disturb what is measured next.
func (s *Server) Flush(ctx context.Context) error {
	pipe := s.admin.Pipeline()
	pipe.FlushAll(ctx)
	pipe.ConfigResetStat(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("redisserver: flush: %w", err)
	}
	return nil
}

// ForgetCommands begins to count commands anew.
func (s *Server) ForgetCommands(ctx context.Context) error {
	if err := s.admin.ConfigResetStat(ctx).Err(); err != nil {
		return fmt.Errorf("redisserver: reset: %w", err)
	}
	return nil
}

// CPU returns the CPU time that the server's process used so far, and those of
// the other nodes of its cluster.
func (s *Server) CPU(ctx context.Context) (total time.Duration, err error) {
	for _, node := range append([]*Server{s}, s.others...) {
		used, err := node.cpu(ctx)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

func (s *Server) cpu(ctx context.Context) (time.Duration, error) {
	info, err := s.info(ctx, "cpu")
	if err != nil {
		return 0, err
	}
	var total float64
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		v, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return 0, fmt.Errorf("redisserver: %s: %w", name, err)
		}
		total += v
	}
	return time.Duration(total * float64(time.Second)), nil
}

// Version returns the server's version.
func (s *Server) Version(ctx context.Context) (string, error) {
	info, err := s.info(ctx, "server")
	return info["redis_version"], err
}

// Memory returns the bytes that the server's data take.
func (s *Server) Memory(ctx context.Context) (int64, error) {
	info, err := s.info(ctx, "memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["used_memory"], 10, 64)
}

// Command is how often a command ran, in scripts or not, and how long the server
// was busy with it. The time of a script includes that of its commands.
type Command struct {
	Calls int64
	Time  time.Duration
}

// Commands returns what ran since Flush, by name.
func (s *Server) Commands(ctx context.Context) (map[string]Command, error) {
	info, err := s.info(ctx, "commandstats")
	if err != nil {
		return nil, err
	}
	commands := make(map[string]Command, len(info))
	for name, stats := range info {
		var calls, micros int64
		if _, err := fmt.Sscanf(stats, "calls=%d,usec=%d,", &calls, &micros); err != nil {
			return nil, fmt.Errorf("redisserver: %s: %w", name, err)
		}
		commands[strings.TrimPrefix(name, "cmdstat_")] = Command{calls, time.Duration(micros) * time.Microsecond}
	}
	return commands, nil
}

func (s *Server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.admin.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("redisserver: info %s: %w", section, err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}
