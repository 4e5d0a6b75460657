-- Confirms that entries are still ours: resets their idle time, so that no
-- sibling reclaims them. KEYS: stream. ARGV: group, consumer, ids. Returns the
-- ids that are not ours any more, and those that were deleted from the stream.
local lost, gone = {}, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if not p or p[2] ~= ARGV[2] then
    lost[#lost + 1] = id
  elseif #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', p[4], 'JUSTID') == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], id)
    gone[#gone + 1] = id
  end
end
return {lost, gone}
