-- Removes consumers of a group that hold nothing and have been idle. KEYS:
-- stream. ARGV: group, idle time in ms, the consumer that stays in any case.
-- Returns their names.
local removed = {}
if redis.call('EXISTS', KEYS[1]) == 0 then return removed end
local known = false
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #g, 2 do known = known or g[i] == 'name' and g[i + 1] == ARGV[1] end
end
if not known then return removed end
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local f = {}
  for i = 1, #c, 2 do f[c[i]] = c[i + 1] end
  if f.pending == 0 and f.idle >= tonumber(ARGV[2]) and f.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], f.name)
    removed[#removed + 1] = f.name
  end
end
return removed
