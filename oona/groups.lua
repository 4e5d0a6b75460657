-- The beginning of depth.lua and queues.lua: what the groups of a stream have before
-- them.
--
-- Redis knows the lag of a group unless entries were deleted out of turn; after it
-- was restarted it says too much, for ever. So a lag that is more than a few is
-- checked: the undelivered entries are counted, and if they are many it is taken
-- for true, and all of the stream where there is none.
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

-- Returns the length of a stream and its groups: what XINFO says of each, by name,
-- and 'undelivered'. A stream that is not there has neither.
local function groups_of(stream)
  local found = redis.pcall('XINFO', 'GROUPS', stream)
  if found.err then return 0, {} end
  local length, groups = redis.call('XLEN', stream), {}
  for i, list in ipairs(found) do
    local g = {}
    for k = 1, #list, 2 do g[list[k]] = list[k + 1] end
    g['undelivered'] = undelivered(stream, length, g)
    groups[i] = g
  end
  return length, groups
end
