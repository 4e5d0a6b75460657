-- Adds a message unless that was done. KEYS: stream, what it is known by. ARGV:
-- payload, signature, how long to remember in ms. Returns its entry id.
local id = redis.call('GET', KEYS[2])
if not id then
  id = redis.call('XADD', KEYS[1], '*', 'payload', ARGV[1], 'signature', ARGV[2])
  redis.call('SET', KEYS[2], id, 'PX', ARGV[3])
end
return id
