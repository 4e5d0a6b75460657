-- Commits a batch: acknowledges its entries and does what belongs to each, in
-- one step. What comes alone and is as usual, commitone.lua commits sooner. Follows
-- nonces.lua. KEYS: failures, dead letters, the streams of the
-- answers. ARGV: group, consumer, the least time in ms of the ids in the parts,
-- the number of parts. A part is the usual, many times over: entries that are
-- done, of one bucket, each with one answer to one stream and its own nonce, which
-- are the first nonces. It is
--   bucket stream count id* (payload signature)*
-- Then come the other entries, each with its letter:
--   "d" id nonce-index bucket holder answers (stream payload signature)*  done
--   "a" id nonce-index bucket holder                         acknowledge
--   "x" id nonce-index bucket holder fields (name value)*    dead-letter
--   "f" id record                                            note a failure, keep pending
--
-- An entry with a nonce is done once, by whoever comes first with its nonce, also
-- when it is not pending any more because its group was lost or somebody trimmed
-- it. An entry without one is done by whoever acknowledges it.
--
-- Returns one letter per entry, in their order, and the time: 1 applied, 0
-- somebody else settled it, d r s as in nonces.lua, e failed and left as it was.
local failures, dead = KEYS[3 + nbuckets], KEYS[4 + nbuckets]
local first_answer = 4 + nbuckets
local group, consumer, least, nparts = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]) or math.huge, tonumber(ARGV[at + 3])
at = at + 4
local call, try = redis.call, redis.pcall
local failed = call('HLEN', failures) > 0
local codes = {}

local function refused(reply) return type(reply) == 'table' and reply.err end

-- Takes an acknowledgement back: the entry is pending again, for us to retry.
local function undo(id)
  call('XCLAIM', stream, group, consumer, 0, id, 'FORCE', 'JUSTID')
  return 'e'
end

-- A part of which nothing is known: all of it at once.
local function together(bucket, key, count, ids, p, first)
  call('XACK', stream, group, unpack(ARGV, ids, ids + count - 1))
  local bound, n, broken = {}, 0, {}
  for k = 0, count - 1 do
    local id = ARGV[ids + k]
    if type(try('XADD', key, '*', 'payload', ARGV[p], 'signature', ARGV[p + 1])) == 'table' then -- refused
      broken[k] = undo(id)
    else
      bound[n + 1], bound[n + 2] = ARGV[nonces + first + k], id
      n = n + 2
    end
    p = p + 2
  end
  if n > 0 then call('HSET', KEYS[2 + bucket], unpack(bound)) end
  if n == 2 * count then
    codes[#codes + 1] = string.rep('1', count)
    return
  end
  for k = 0, count - 1 do codes[#codes + 1] = broken[k] or '1' end
end

local nth = 1 -- the nonce that comes next

-- Commits the next part.
local function part(commit)
  local bucket, key, count = tonumber(ARGV[at]), KEYS[first_answer + tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2])
  local ids = at + 3
  at = ids + 3 * count
  commit(bucket, key, count, ids, ids + count, nth)
  if failed then call('HDEL', failures, unpack(ARGV, ids, ids + count - 1)) end
  nth = nth + count
  nparts = nparts - 1
end

local function reply()
  local now = call('TIME')
  return {table.concat(codes), now[1], now[2]}
end

-- What most batches are ends here, before all that they do not need.
if next(holders) == nil and least >= mark then
  while nparts > 0 and tonumber(ARGV[2 + tonumber(ARGV[at])]) >= floor do part(together) end
end
if nparts == 0 and at > #ARGV then return reply() end

local function acknowledge(id) return call('XACK', stream, group, id) == 1 end

-- Adds the n answers that begin at p, all or none.
local added = {}
local function answer(p, n)
  for k = 1, n do
    local key = KEYS[first_answer + tonumber(ARGV[p])]
    added[k] = try('XADD', key, '*', 'payload', ARGV[p + 1], 'signature', ARGV[p + 2])
    if refused(added[k]) then
      for j = k - 1, 1, -1 do
        call('XDEL', KEYS[first_answer + tonumber(ARGV[p - 3 * (k - j)])], added[j])
      end
      return false
    end
    p = p + 3
  end
  return true
end

local function bind(i, bucket, holder)
  if i == 0 then return end
  holders[i], home[i] = holder, home[i] or bucket
  call('HSET', KEYS[2 + home[i]], ARGV[nonces + i], holder)
end

-- Whether an entry with a nonce is ours to settle; it is acknowledged in any case.
local function settle(id, i, bucket, holder)
  local code = judge(id, i, bucket, holder)
  local acked = acknowledge(id)
  if code == '1' or acked then return code end
  return '0'
end

-- A part entry by entry.
local function apart(bucket, key, count, ids, p, first)
  for k = 0, count - 1 do
    local id = ARGV[ids + k]
    local code = settle(id, first + k, bucket, id)
    if code == '1' then
      if refused(try('XADD', key, '*', 'payload', ARGV[p], 'signature', ARGV[p + 1])) then
        code = undo(id)
      else
        bind(first + k, bucket, id)
      end
    end
    codes[#codes + 1] = code
    p = p + 2
  end
end

while nparts > 0 do part(apart) end

-- A message whose nonce another of this batch had first: what became of that.
local function recall(i)
  for b = 1, nbuckets do
    local holder = call('HGET', KEYS[2 + b], ARGV[nonces + i])
    if holder then holders[i], home[i] = holder, b end
  end
end

local others = {}

function others.d(id, i, bucket, holder)
  local n, p = tonumber(ARGV[at]), at + 1
  at = p + 3 * n
  local code
  if i > 0 then
    code = settle(id, i, bucket, holder)
  else
    code = acknowledge(id) and judge(id, 0) or '0'
  end
  if code ~= '1' then return code end
  if not answer(p, n) then return undo(id) end
  bind(i, bucket, holder)
  return '1'
end

function others.a(id, i, bucket, holder)
  if not acknowledge(id) then return '0' end
  if i == 0 then return '1' end
  local code = judge(id, i, bucket, holder)
  if code == '1' then bind(i, bucket, holder) end
  return code
end

function others.x(id, i, bucket, holder)
  local n = tonumber(ARGV[at])
  local fields = {unpack(ARGV, at + 1, at + 2 * n)}
  at = at + 1 + 2 * n
  local p = call('XPENDING', stream, group, id, id, 1)[1]
  if not p or p[2] ~= consumer or not acknowledge(id) then return '0' end
  local code = judge(id, i, bucket, holder)
  if code == '1' then
    if refused(try('XADD', dead, '*', 'deliveries', p[4], unpack(fields))) then return undo(id) end
    bind(i, bucket, holder)
  end
  return code
end

local function failure(id, record)
  local p = call('XPENDING', stream, group, id, id, 1)[1]
  if not p or p[2] ~= consumer then return '0' end
  call('HSET', failures, id, record)
  call('PEXPIRE', failures, 604800000) -- a week without any failure
  return '1'
end

while at <= #ARGV do
  local letter, id = ARGV[at], ARGV[at + 1]
  local code
  if letter == 'f' then
    code = failure(id, ARGV[at + 2])
    at = at + 3
  else
    local i, bucket, holder = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4]
    at = at + 5
    if i > 0 and i < nth then recall(i) end
    code = others[letter](id, i, bucket, holder)
    if failed and code ~= 'e' then call('HDEL', failures, id) end
  end
  codes[#codes + 1] = code
end

return reply()
