-- The beginning of commit.lua and claim.lua: what is known of the nonces of a
-- batch. KEYS: marks, stream, then the nonce buckets, then those of the script.
-- ARGV: number of buckets, number of nonces, the numbers of the buckets, the
-- nonces, then those of the script, from at on.
--
-- A nonce is bound to its holder, an entry, once that is settled: answered,
-- dropped or dead-lettered; with a "?" behind it while it is only claimed. Reads
-- come first: a key of the wrong type fails here, before anything is written.
local marks, stream = KEYS[1], KEYS[2]
local nbuckets, nnonces = tonumber(ARGV[1]), tonumber(ARGV[2])
local nonces = 2 + nbuckets -- the i-th nonce is ARGV[nonces + i]
local at = nonces + nnonces + 1
local known = redis.call('HMGET', marks, stream, '#floor')
local mark, floor = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local holders, home = {}, {}
local many = nnonces > 16
for b = 1, nbuckets do
  local size = many and redis.call('HLEN', KEYS[2 + b])
  if size ~= 0 and nnonces > 0 then
    -- A small hash is kept as a list, and each look-up goes through all of it. A
    -- field longer than 64 bytes makes it a table for good, where many are looked up
    -- at once.
    if many and size <= 128 then
      redis.pcall('HSET', KEYS[2 + b], '#', string.rep('#', 65))
      redis.call('HDEL', KEYS[2 + b], '#')
    end
    local found = redis.call('HMGET', KEYS[2 + b], unpack(ARGV, nonces + 1, nonces + nnonces))
    for i = 1, nnonces do
      if found[i] then holders[i], home[i] = found[i], b end
    end
  end
end

local function ms(id) return tonumber(string.match(id, '^%d+')) or math.huge end

-- What is to become of an entry: 1 it may go on, d it was settled before, r its
-- nonce belongs to another, s nobody can tell any more: it is below the mark, or
-- its nonce would be in a bucket that is gone.
local function judge(id, i, bucket, holder)
  local have = i > 0 and holders[i]
  if have then
    if have == holder .. '?' then return '1' end
    return have == holder and 'd' or 'r'
  end
  if ms(id) < mark then return 's' end
  if i > 0 and tonumber(ARGV[2 + bucket]) < floor then return 's' end
  return '1'
end
