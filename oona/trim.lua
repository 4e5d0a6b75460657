-- Trims a stream, and removes consumers that are gone. KEYS: stream. ARGV: age in
-- ms, how many of the newest entries to keep whatever their age or 0, "finished"
-- to keep what any group has not finished, a group that must have finished it or
-- "", idle time in ms after which its empty consumers are removed.
--
-- Entry ids that are ahead of the clock have no age. While a stream has such,
-- what is finished goes at once, and of a stream that is trimmed by age the
-- newest 10,000 stay.
--
-- Returns how many entries were deleted; the group that keeps entries which are
-- old enough to go, or "", and 1 if nobody reads in it any more; the names of the
-- consumers that were removed; and for each group whose next entries were deleted
-- before it read them its name and their number.
local stream, group = KEYS[1], ARGV[4]
local age, newest, finished, idle = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == 'finished', tonumber(ARGV[5])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last_id = '18446744073709551615-18446744073709551615'

local function named(list)
  local m = {}
  for i = 1, #list, 2 do m[list[i]] = list[i + 1] end
  return m
end

-- Ids do not fit into Lua's numbers: they compare by length, then by digits.
local function before(a, b)
  local ams, aseq = string.match(a, '^(%d+)%-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)%-(%d+)$')
  for _, pair in ipairs({{ams, bms}, {aseq, bseq}}) do
    local x, y = pair[1], pair[2]
    if #x ~= #y then return #x < #y end
    if x ~= y then return x < y end
  end
  return false
end

local info = redis.pcall('XINFO', 'STREAM', stream)
if info.err then
  if string.find(info.err, 'no such key') then return {0, '', 0, {}, {}} end
  return info
end
info = named(info)
local groups, present = {}, group == ''
for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  groups[#groups + 1] = named(g)
  if groups[#groups].name == group then present = true end
end

local removed = {}
if group ~= '' and present then
  for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    c = named(c)
    if c.pending == 0 and c.idle > idle then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, c.name)
      removed[#removed + 1] = c.name
    end
  end
end

-- Whether nobody has read in a group for longer than a consumer may be idle.
local function deserted(name)
  for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', stream, name)) do
    local seen = named(c).idle
    if seen >= 0 and seen <= idle then return 0 end
  end
  return 1
end

local lost = {}
local first = info['first-entry'] or info.length > 0 and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local gone = (info['entries-added'] or info.length) - info.length
for _, g in ipairs(groups) do
  local read, delivered = g['entries-read'], g['last-delivered-id']
  if read and gone > read and (not first or before(delivered, first[1])) then
    lost[#lost + 1] = g.name
    lost[#lost + 1] = gone - read
  end
end

local function trim_before(id)
  local deleted = 0
  if not first or not before(first[1], id) then return 0 end
  for _ = 1, 10 do
    local n = redis.call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', 10000)
    deleted = deleted + n
    if n == 0 then return deleted + redis.call('XTRIM', stream, 'MINID', '=', id) end
  end
  return deleted -- the rest at the next turn
end

local ahead = tonumber(string.match(info['last-generated-id'] or '0', '^%d*')) or math.huge
ahead = ahead > now + 60000
local blocker, abandoned = '', 0
if newest > 0 then
  return {redis.call('XTRIM', stream, 'MAXLEN', '=', newest), '', 0, removed, lost}
elseif not finished or #groups == 0 then
  if not present then return {0, '', 0, removed, lost} end
  if ahead then return {redis.call('XTRIM', stream, 'MAXLEN', '~', 10000), '', 0, removed, lost} end
  return {trim_before(string.format('%.0f-0', now - age)), '', 0, removed, lost}
elseif not present then
  return {0, '', 0, removed, lost}
end

local limit = ahead and last_id or string.format('%.0f-0', now - age)
for _, g in ipairs(groups) do
  local pending = redis.call('XPENDING', stream, g.name)
  local from = pending[2]
  if not from and g['last-delivered-id'] ~= last_id then
    local unread = redis.call('XRANGE', stream, '(' .. g['last-delivered-id'], '+', 'COUNT', 1)[1]
    from = unread and unread[1]
  end
  if from and before(from, limit) then
    limit, blocker, abandoned = from, g.name, deserted(g.name)
  end
end
return {trim_before(limit), ahead and abandoned == 0 and '' or blocker, abandoned, removed, lost}
