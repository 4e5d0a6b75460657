-- Trims one stream. KEYS: stream. ARGV: "work", "age" or "newest", then the age
-- in ms or the number of entries to keep. Of a work stream only that goes which
-- every group has finished: delivered and acknowledged. Returns how many entries
-- went, and, where a group holds back what is old enough to go, its name and
-- since when (Unix ms).
local stream, mode, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', stream) == 0 then return {0, '', '0'} end
if mode == 'newest' then return {redis.call('XTRIM', stream, 'MAXLEN', limit), '', '0'} end

local t = redis.call('TIME')
local old = t[1] * 1000 + math.floor(t[2] / 1000) - limit
if old < 0 then old = 0 end

local function ms(id) return tonumber(string.match(id, '^%d+') or '0') end
local function before(a, b) -- compares ids without losing their last digits
  local am, as, bm, bs = ms(a), string.match(a, '%d+$'), ms(b), string.match(b, '%d+$')
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end

local boundary, holder, since = string.format('%.0f-0', old), '', '0'
if mode == 'work' then
  for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local name, delivered
    for i = 1, #g, 2 do
      if g[i] == 'name' then name = g[i + 1] elseif g[i] == 'last-delivered-id' then delivered = g[i + 1] end
    end
    local first = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
    local pending = redis.call('XPENDING', stream, name)[2]
    for _, id in ipairs({first and first[1] or false, pending or false}) do
      if id and before(id, boundary) then
        boundary, holder, since = id, name, string.match(id, '^%d+')
      end
    end
  end
end
return {redis.call('XTRIM', stream, 'MINID', '~', boundary), holder, since}
