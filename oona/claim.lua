-- Claims the nonces of a batch for their entries, before they are handled.
-- Follows nonces.lua. ARGV: for each entry its id, nonce-index, bucket and
-- holder. Returns one letter per entry: 1 claimed, by this or an earlier call,
-- d r s as in nonces.lua.
local codes = {}
while at <= #ARGV do
  local i, bucket, holder = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local code = judge(ARGV[at], i, bucket, holder)
  if code == '1' and i > 0 and not holders[i] then
    holders[i] = holder .. '?'
    redis.call('HSET', KEYS[2 + bucket], ARGV[nonces + i], holders[i])
  end
  codes[#codes + 1] = code
  at = at + 4
end
return table.concat(codes)
