-- Commits a batch: acknowledges each entry and does what belongs to it, in one
-- step. KEYS: stream, failures, marks, dead letters, then the nonce buckets,
-- then the streams of the answers. ARGV: group, consumer, number of buckets,
-- number of nonces, the nonces, then the entries:
--   "a" id                                          acknowledge
--   "d" id nonce-index holder answers (stream payload signature)*   done
--   "x" id fields (name value)*                     dead-letter
--   "f" id record                                   note a failure, keep pending
-- Returns one letter per entry and the time: 1 applied, 0 not pending (somebody
-- else finished it), r replayed, d done before, s below the mark, e failed and
-- left as it was.
local stream, failures, marks, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, consumer = ARGV[1], ARGV[2]
local nbuckets, nnonces = tonumber(ARGV[3]), tonumber(ARGV[4])
local at = 5

-- Reads first: a key of the wrong type fails here, before anything is written.
local failed = redis.call('HLEN', failures) > 0
local mark = tonumber(redis.call('HGET', marks, stream) or '0')
local holders, home = {}, {}
if nnonces > 0 then
  local nonces = {}
  for i = 1, nnonces do nonces[i] = ARGV[at + i - 1] end
  at = at + nnonces
  for b = 1, nbuckets do
    local found = redis.call('HMGET', KEYS[4 + b], unpack(nonces))
    for i = 1, nnonces do
      if found[i] then holders[i] = found[i]; home[i] = b end
    end
  end
end
local first_answer = 4 + nbuckets

-- Takes an acknowledgement back: the entry is pending again, for us to retry.
local function undo(id)
  redis.call('XCLAIM', stream, group, consumer, 0, id, 'FORCE', 'JUSTID')
end

local function answer(n)
  local added = {}
  for _ = 1, n do
    local key = KEYS[first_answer + tonumber(ARGV[at])]
    local r = redis.pcall('XADD', key, '*', 'payload', ARGV[at + 1], 'signature', ARGV[at + 2])
    if type(r) == 'table' and r.err then
      for _, a in ipairs(added) do redis.call('XDEL', a[1], a[2]) end
      return false
    end
    added[#added + 1] = {key, r}
    at = at + 3
  end
  return true
end

local function done(id)
  local i, bucket, holder, n = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  at = at + 4
  local after = at + 3 * n
  local code = '1'
  if redis.call('XACK', stream, group, id) == 0 then
    code = '0'
  elseif i > 0 then
    local have = holders[i]
    if have == holder .. '!' then
      code = 'd'
    elseif have and have ~= holder then
      code = 'r'
    elseif tonumber(string.match(id, '^%d+')) < mark then
      code = 's'
    elseif answer(n) then
      holders[i] = holder .. '!'
      redis.call('HSET', KEYS[4 + (home[i] or bucket)], ARGV[4 + i], holders[i])
    else
      undo(id)
      code = 'e'
    end
  elseif not answer(n) then
    undo(id)
    code = 'e'
  end
  at = after
  return code
end

local function deadletter(id)
  local n = tonumber(ARGV[at])
  local fields = {}
  for i = 1, 2 * n do fields[i] = ARGV[at + i] end
  at = at + 1 + 2 * n
  local p = redis.call('XPENDING', stream, group, id, id, 1)
  if redis.call('XACK', stream, group, id) == 0 then return '0' end
  local r = redis.pcall('XADD', dead, '*', 'deliveries', p[1] and p[1][4] or 0, unpack(fields))
  if type(r) == 'table' and r.err then
    undo(id)
    return 'e'
  end
  return '1'
end

local function failure(id)
  local record = ARGV[at]
  at = at + 1
  local p = redis.call('XPENDING', stream, group, id, id, 1)
  if not p[1] or p[1][2] ~= consumer then return '0' end
  redis.call('HSET', failures, id, record)
  return '1'
end

local codes = {}
while at <= #ARGV do
  local op, id = ARGV[at], ARGV[at + 1]
  at = at + 2
  local code
  if op == 'd' then
    code = done(id)
  elseif op == 'a' then
    code = redis.call('XACK', stream, group, id) == 1 and '1' or '0'
  elseif op == 'x' then
    code = deadletter(id)
  else
    code = failure(id)
  end
  if failed and op ~= 'f' and code ~= 'e' then redis.call('HDEL', failures, id) end
  codes[#codes + 1] = code
end
local now = redis.call('TIME')
return {table.concat(codes), now[1], now[2]}
