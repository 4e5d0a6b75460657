-- Takes entries over, with what is known of them. KEYS: stream, failures. ARGV:
-- group, consumer, least idle time in ms, whether to take only those that are
-- the consumer's already ("own", which counts no delivery) or "any", the ids.
-- Returns the entries taken, each with id, fields, deliveries and the record of
-- its failures, and the ids of those that were deleted from the stream.
local stream, failures = KEYS[1], KEYS[2]
local group, consumer, idle, own = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == 'own'
local taken, gone = {}, {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local p = redis.call('XPENDING', stream, group, 'IDLE', idle, id, id, 1)[1]
  if p and (not own or p[2] == consumer) then
    local deliveries = own and p[4] or p[4] + 1
    local entry = redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', deliveries)[1]
    if entry then
      taken[#taken + 1] = {id, entry[2], deliveries, redis.call('HGET', failures, id) or ''}
    else
      redis.call('XACK', stream, group, id)
      redis.call('HDEL', failures, id)
      gone[#gone + 1] = id
    end
  end
end
return {taken, gone}
