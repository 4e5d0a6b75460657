-- Moves a dead letter back to a stream, sealed anew, and its nonce to the new
-- entry. KEYS: dead letters, stream, the bucket of the new nonce, the buckets
-- where the old one can be. ARGV: id of the letter, nonce or "", the holder of the
-- old nonce, what follows the new entry's id in the name of the holder, payload,
-- signature. Returns the id of the new entry.
local dead, stream, bucket = KEYS[1], KEYS[2], KEYS[3]
local id, nonce, old = ARGV[1], ARGV[2], ARGV[3]
if #redis.call('XRANGE', dead, id, id) == 0 then return redis.error_reply('NOLETTER no such dead letter') end
local home
if nonce ~= '' then
  for k = 3, #KEYS do
    local holder = redis.call('HGET', KEYS[k], nonce)
    if holder and holder ~= old and holder ~= old .. '?' then
      return redis.error_reply('REPLAYED another message with this id was settled meanwhile')
    end
    if holder then home = KEYS[k] end
  end
end
local added = redis.call('XADD', stream, '*', 'payload', ARGV[5], 'signature', ARGV[6])
if home then redis.call('HDEL', home, nonce) end
if nonce ~= '' then redis.call('HSET', bucket, nonce, added .. ARGV[4] .. '?') end
redis.call('XDEL', dead, id)
return added
