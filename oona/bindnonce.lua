-- Binds one nonce outside of any group. KEYS: its own bucket, then its
-- neighbours. ARGV: nonce, holder, until when it is needed, and how long after
-- that a bucket is kept, in ms. Returns 1 fresh, 2 resumed, 0 replayed, -1 too
-- late to tell. An empty holder never resumes.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 1, #KEYS do
  local holder = redis.call('HGET', KEYS[i], ARGV[1])
  if holder then
    return holder == ARGV[2] and holder ~= '' and 2 or 0
  end
end
local gone = tonumber(ARGV[3]) + tonumber(ARGV[4])
if now >= gone then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < gone - now then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', gone))
end
return 1
