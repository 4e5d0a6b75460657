-- Commits one entry that is as usual: it is done, with one answer and a nonce of its
-- own. What commit.lua would do with it, in as few steps as there are, because it
-- is what a message that is alone waits for.
--
-- KEYS: marks, stream, stream of the answer, the nonce's bucket, the buckets
-- before it that can have it too, failures, the buckets after it. ARGV: group, id,
-- its time in ms, nonce, number of its bucket, payload, signature, how many buckets
-- are before it.
--
-- Returns the time if it was applied. Returns nothing, and has written nothing, if
-- there is more to it: then it is up to commit.lua.
local call, stream, id, nonce = redis.call, KEYS[2], ARGV[2], ARGV[4]
local known = call('HMGET', KEYS[1], stream, '#floor')
if tonumber(ARGV[3]) < tonumber(known[1] or '0') or tonumber(ARGV[5]) < tonumber(known[2] or '0') then return end
local failures = 5 + tonumber(ARGV[8])
for b = 4, failures - 1 do
  if call('HGET', KEYS[b], nonce) then return end
end
-- None of these is there as a rule: a bucket after that of a message is of messages that
-- were issued half a minute later.
local failed = false
if call('EXISTS', unpack(KEYS, failures)) > 0 then
  failed = call('HLEN', KEYS[failures]) > 0
  for b = failures + 1, #KEYS do
    if call('HGET', KEYS[b], nonce) then return end
  end
end
if type(redis.pcall('XADD', KEYS[3], '*', 'payload', ARGV[6], 'signature', ARGV[7])) == 'table' then return end
call('HSET', KEYS[4], nonce, id)
call('XACK', stream, ARGV[1], id)
if failed then call('HDEL', KEYS[failures], id) end
return call('TIME')
