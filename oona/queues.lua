-- Says what each group has not finished. KEYS: streams. Returns for each stream
-- its length and its groups: name, undelivered entries, pending ones, consumers,
-- and the id of the oldest that is not finished, '' where there is none.
--
-- How many are undelivered is found out as in depth.lua.
local many = 64
local last_id = '18446744073709551615-18446744073709551615'

local function undelivered(stream, length, g)
  local lag = g['entries-read'] and g['lag']
  if lag and lag < many then return lag end
  if g['last-delivered-id'] == last_id then return 0 end
  local n = #redis.call('XRANGE', stream, '(' .. g['last-delivered-id'], '+', 'COUNT', many)
  if n < many then return n end
  return lag and math.min(lag, length) or length
end

local function oldest(stream, g)
  if g['pending'] > 0 then -- whatever is undelivered came later
    return redis.call('XPENDING', stream, g['name'])[2] or ''
  end
  if g['last-delivered-id'] == last_id then return '' end
  local first = redis.call('XRANGE', stream, '(' .. g['last-delivered-id'], '+', 'COUNT', 1)[1]
  return first and first[1] or ''
end

local queues = {}
for _, stream in ipairs(KEYS) do
  local found = redis.pcall('XINFO', 'GROUPS', stream)
  local length, groups = 0, {}
  if not found.err then
    length = redis.call('XLEN', stream)
    for _, list in ipairs(found) do
      local g = {}
      for i = 1, #list, 2 do g[list[i]] = list[i + 1] end
      groups[#groups + 1] = { g['name'], undelivered(stream, length, g), g['pending'], g['consumers'], oldest(stream, g) }
    end
  end
  queues[#queues + 1] = { length, groups }
end
return queues
