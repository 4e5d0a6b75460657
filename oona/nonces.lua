-- The beginning of commit.lua and claim.lua: what is known of the nonces of a
-- batch. KEYS: marks, stream, then the nonce buckets, then those of the script.
-- ARGV: number of buckets, number of nonces, the numbers of the buckets, the
-- nonces, then those of the script, from at on.
--
-- A nonce is bound to its holder, an entry: with "!" once that is settled, that
-- is, answered, dropped or dead-lettered. Reads come first: a key of the wrong
-- type fails here, before anything is written.
local marks, stream = KEYS[1], KEYS[2]
local nbuckets, nnonces = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = 3 + nbuckets + nnonces
local known = redis.call('HMGET', marks, stream, '#floor')
local mark, floor = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local holders, home = {}, {}
if nnonces > 0 then
  local nonces = {}
  for i = 1, nnonces do nonces[i] = ARGV[2 + nbuckets + i] end
  for b = 1, nbuckets do
    local found = redis.call('HMGET', KEYS[2 + b], unpack(nonces))
    for i = 1, nnonces do
      if found[i] then holders[i], home[i] = found[i], b end
    end
  end
end

-- What is to become of an entry: 1 it may go on, d it was settled before, r its
-- nonce belongs to another, s nobody can tell any more: it is below the mark, or
-- its nonce would be in a bucket that is gone.
local function judge(id, i, bucket, holder)
  local have = i > 0 and holders[i]
  if have then
    if have == holder then return '1' end
    return have == holder .. '!' and 'd' or 'r'
  end
  if (tonumber(string.match(id, '^%d+')) or math.huge) < mark then return 's' end
  if i > 0 and tonumber(ARGV[2 + bucket]) < floor then return 's' end
  return '1'
end
