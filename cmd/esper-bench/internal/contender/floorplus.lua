-- Acknowledges each entry and publishes its answer, if nobody did. KEYS:
-- requests, answers. ARGV: group, then id, payload, signature of each entry.
for i = 2, #ARGV, 3 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[2], '*', 'payload', ARGV[i + 1], 'signature', ARGV[i + 2])
  end
end
return #ARGV
