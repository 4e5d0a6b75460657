-- Hands back what a stopping consumer did not start: ages its pending entries,
-- so that a sibling takes them at its next scan, and removes the consumer if it
-- has none. A delivery that ended in order is not held against the entry. KEYS:
-- stream. ARGV: group, consumer, idle time in ms, how many at most. Returns how
-- many were handed back.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local pending = redis.call('XPENDING', stream, group, '-', '+', ARGV[4], consumer)
for _, p in ipairs(pending) do
  redis.call('XCLAIM', stream, group, consumer, 0, p[1], 'IDLE', ARGV[3], 'RETRYCOUNT', math.max(0, p[4] - 1), 'JUSTID')
end
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer) end
return #pending
