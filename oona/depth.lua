-- Says how much waits. Follows groups.lua. KEYS: streams. Returns two numbers for
-- each: how many entries wait for the group that is furthest behind, undelivered and
-- pending, and how many there are.
local depths = {}
for _, stream in ipairs(KEYS) do
  local waiting, length, groups = 0, groups_of(stream)
  for _, g in ipairs(groups) do waiting = math.max(waiting, g['pending'] + g['undelivered']) end
  depths[#depths + 1] = waiting
  depths[#depths + 1] = length
end
return depths
