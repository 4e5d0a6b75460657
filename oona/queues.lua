-- Says what each group has not finished. Follows groups.lua. KEYS: streams. Returns
-- for each stream its length and its groups: name, undelivered entries, pending ones,
-- consumers, and the id of the oldest that is not finished, '' where there is none.
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
  local length, groups = groups_of(stream)
  for i, g in ipairs(groups) do
    groups[i] = { g['name'], g['undelivered'], g['pending'], g['consumers'], oldest(stream, g) }
  end
  queues[#queues + 1] = { length, groups }
end
return queues
