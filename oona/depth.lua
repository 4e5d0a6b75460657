-- Says how much waits. KEYS: streams. Returns two numbers for each: how many
-- entries wait for the group that is furthest behind, undelivered and pending, and
-- how many there are.
--
-- Redis knows the lag of a group unless entries were deleted out of turn; after it
-- was restarted it says too much, for ever. So a lag that is more than a few is
-- checked: the undelivered entries are counted, and if they are many it is taken
-- for true, and all of the stream where there is none.
local many = 64
local last_id = '18446744073709551615-18446744073709551615'

local function undelivered(stream, length, delivered, read, lag)
  if read and lag and lag < many then return lag end
  if delivered == last_id then return 0 end
  local n = #redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', many)
  if n < many then return n end
  return read and lag and math.min(lag, length) or length
end

local depths = {}
for _, stream in ipairs(KEYS) do
  local waiting, length = 0, 0
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if not groups.err then
    length = redis.call('XLEN', stream)
    for _, list in ipairs(groups) do
      local g = {}
      for i = 1, #list, 2 do g[list[i]] = list[i + 1] end
      waiting = math.max(waiting, g['pending'] + undelivered(stream, length, g['last-delivered-id'], g['entries-read'], g['lag']))
    end
  end
  depths[#depths + 1] = waiting
  depths[#depths + 1] = length
end
return depths
