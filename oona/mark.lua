-- Raises the low-water mark of a stream for a group: the time before which
-- nothing is pending or unread; and with it the floor, the number of the first
-- bucket of nonces that somebody can still need. KEYS: stream, marks. ARGV:
-- group, slack, hold, retention and bucket width, all in ms.
--
-- An entry whose id is ahead of the clock moves the whole stream ahead; its age
-- is unknown, and the mark then stays a whole hold behind. A mark or floor that
-- is itself ahead of the clock was made by a clock that has since been put back.
-- The mark follows it; of the nonces below the floor nothing is known any more,
-- so everything issued before this moment is refused from then on.
--
-- Returns the floor, the first bucket that was not dropped yet, the stream of the
-- least mark, how far in ms that is behind, and 1 if the stream's ids are ahead
-- of the clock, 2 if the clock was put back, 3 for both.
local stream, marks, group = KEYS[1], KEYS[2], ARGV[1]
local slack, hold, retention, width = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last_id = '18446744073709551615-18446744073709551615'

local function ms(id) return tonumber(string.match(id, '^%d+') or '0') or math.huge end
local function number(n) return string.format('%.0f', n) end
local function field(list, name)
  for i = 1, #list, 2 do
    if list[i] == name then return list[i + 1] end
  end
end

local delivered, npending
for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  if field(g, 'name') == group then
    delivered, npending = field(g, 'last-delivered-id'), field(g, 'pending')
  end
end
if not delivered then return redis.error_reply('NOGROUP No such consumer group') end

local mark = now - slack
local last = field(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
local ahead = ms(last) > now + slack
if ahead then mark = now - math.max(hold, slack) end
if npending > 0 then
  mark = math.min(mark, ms(redis.call('XPENDING', stream, group)[2]))
end
if delivered ~= last and delivered ~= last_id then
  local unread = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)
  if unread[1] then mark = math.min(mark, ms(unread[1][1])) end
end

local all = redis.call('HGETALL', marks)
local before = tonumber(field(all, stream) or '0')
local floor = tonumber(field(all, '#floor') or '-1')
local swept = tonumber(field(all, '#swept') or '-1')
local put_back = before > now
if mark > before or put_back then
  redis.call('HSET', marks, stream, number(mark))
else
  mark = before
end

local least, of = mark, stream
for i = 1, #all, 2 do
  local at = all[i] ~= stream and string.sub(all[i], 1, 1) ~= '#' and tonumber(all[i + 1])
  if at and at < least then least, of = at, all[i] end
end

local needed = math.floor((least - retention) / width)
local present = math.floor(now / width)
if floor > present + 1 then
  put_back, needed = true, present + 1
  redis.call('HSET', marks, '#swept', number(needed))
  swept = needed
elseif needed < floor then
  needed = floor
end
if needed ~= floor then redis.call('HSET', marks, '#floor', number(needed)) end
return {number(needed), number(swept), of, number(now - least), (ahead and 1 or 0) + (put_back and 2 or 0)}
