-- Raises the low-water mark of a stream for a group: the time before which
-- nothing is pending or unread. KEYS: stream, marks. ARGV: group, slack in ms,
-- hold in ms. An entry whose id is ahead of the clock moves the whole stream
-- ahead; its age is unknown, and the mark then stays a whole hold behind.
-- Returns the least mark of all streams of the group, the floor below which
-- buckets are gone already, and the stream of the least mark.
local stream, marks, group = KEYS[1], KEYS[2], ARGV[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- miniredis has no last id for a stream that is still empty.
local function ms(id) return tonumber(string.match(id, '^%d+') or '0') end
local function field(list, name)
  for i = 1, #list, 2 do
    if list[i] == name then return list[i + 1] end
  end
end

local delivered
for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  if field(g, 'name') == group then delivered = field(g, 'last-delivered-id') end
end
if not delivered then return redis.error_reply('NOGROUP No such consumer group') end

local mark = now - tonumber(ARGV[2])
local last = field(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
if ms(last) > now + tonumber(ARGV[2]) then mark = now - tonumber(ARGV[3]) end
local pending = redis.call('XPENDING', stream, group)
if pending[2] then mark = math.min(mark, ms(pending[2])) end
local unread = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)
if unread[1] then mark = math.min(mark, ms(unread[1][1])) end

local floor = tonumber(redis.call('HGET', marks, '#floor') or '-1')
local before = tonumber(redis.call('HGET', marks, stream) or '0')
if mark > before then redis.call('HSET', marks, stream, string.format('%.0f', mark)) end

local least, of = math.max(mark, before), stream
local all = redis.call('HGETALL', marks)
for i = 1, #all, 2 do
  if all[i] ~= '#floor' and tonumber(all[i + 1]) < least then
    least, of = tonumber(all[i + 1]), all[i]
  end
end
return {string.format('%.0f', least), string.format('%.0f', floor), of, ms(last) > now + tonumber(ARGV[2]) and 1 or 0}
