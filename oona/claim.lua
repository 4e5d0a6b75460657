-- Claims a nonce. KEYS: its own bucket, then its neighbours. ARGV: nonce,
-- holder, when the bucket expires (Unix ms). Returns 1 fresh, 2 resumed,
-- 0 replayed. An empty holder never resumes.
for i = 1, #KEYS do
  local holder = redis.call('HGET', KEYS[i], ARGV[1])
  if holder then
    return holder == ARGV[2] and holder ~= '' and 2 or 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) - redis.call('TIME')[1] * 1000 then
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
return 1
