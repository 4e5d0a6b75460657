-- Commits a batch: acknowledges its entries and does what belongs to each, in
-- one step. Follows nonces.lua. KEYS: failures, dead letters, the streams of the
-- answers. ARGV: group, consumer, how many entries with a nonce are done, for
-- each of them
--   id nonce-index bucket holder answers (stream payload signature)*
-- and then the others, each with its letter:
--   "d" id answers (stream payload signature)*               done, without a nonce
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
local group, consumer, ndone = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
at = at + 3
local failed = redis.call('HLEN', failures) > 0

local function refused(reply) return type(reply) == 'table' and reply.err end

local function acknowledge(id) return redis.call('XACK', stream, group, id) == 1 end

-- Takes an acknowledgement back: the entry is pending again, for us to retry.
local function undo(id)
  redis.call('XCLAIM', stream, group, consumer, 0, id, 'FORCE', 'JUSTID')
  return 'e'
end

-- Adds the n answers that begin at p, all or none.
local added = {}
local function answer(p, n)
  for k = 1, n do
    local key = KEYS[first_answer + tonumber(ARGV[p])]
    added[k] = redis.pcall('XADD', key, '*', 'payload', ARGV[p + 1], 'signature', ARGV[p + 2])
    if refused(added[k]) then
      for j = k - 1, 1, -1 do
        redis.call('XDEL', KEYS[first_answer + tonumber(ARGV[p - 3 * (k - j)])], added[j])
      end
      return false
    end
    p = p + 3
  end
  return true
end

-- Nonces to bind: for each bucket the arguments of one HSET.
local binds = {}
local function bind(i, bucket, holder)
  if i == 0 then return end
  holders[i], home[i] = holder .. '!', home[i] or bucket
  local list = binds[home[i]] or {}
  binds[home[i]] = list
  list[#list + 1] = ARGV[2 + nbuckets + i]
  list[#list + 1] = holders[i]
end

local codes = {}

-- Entries with a nonce, in two passes: judge each, acknowledge together, answer.
local where, mine = {}, {}
for k = 1, ndone do
  local id, i, holder = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 3]
  local code = judge(id, i, tonumber(ARGV[at + 2]), holder)
  if code == '1' then
    holders[i] = holder .. '!' -- a second message with this nonce, in this batch, is a replay
    mine[#mine + 1] = id
  elseif not acknowledge(id) then
    code = '0'
  end
  codes[k], where[k] = code, at
  at = at + 5 + 3 * tonumber(ARGV[at + 4])
end
if #mine > 0 then redis.call('XACK', stream, group, unpack(mine)) end
for k = 1, ndone do
  local p = where[k]
  if codes[k] == '1' then
    if answer(p + 5, tonumber(ARGV[p + 4])) then
      bind(tonumber(ARGV[p + 1]), tonumber(ARGV[p + 2]), ARGV[p + 3])
    else
      codes[k] = undo(ARGV[p])
    end
  end
  if failed and codes[k] ~= 'e' then redis.call('HDEL', failures, ARGV[p]) end
end

local others = {}

function others.d(id)
  local n = tonumber(ARGV[at])
  local p = at + 1
  at = p + 3 * n
  if not acknowledge(id) then return '0' end
  local code = judge(id, 0)
  if code == '1' and not answer(p, n) then return undo(id) end
  return code
end

function others.a(id)
  local i, bucket, holder = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  at = at + 3
  if not acknowledge(id) then return '0' end
  if i == 0 then return '1' end
  local code = judge(id, i, bucket, holder)
  if code == '1' then bind(i, bucket, holder) end
  return code
end

function others.x(id)
  local i, bucket, holder, n = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local fields = {}
  for k = 1, 2 * n do fields[k] = ARGV[at + 3 + k] end
  at = at + 4 + 2 * n
  local p = redis.call('XPENDING', stream, group, id, id, 1)
  if not p[1] or p[1][2] ~= consumer or not acknowledge(id) then return '0' end
  local code = judge(id, i, bucket, holder)
  if code == '1' then
    if refused(redis.pcall('XADD', dead, '*', 'deliveries', p[1][4], unpack(fields))) then return undo(id) end
    bind(i, bucket, holder)
  end
  return code
end

function others.f(id)
  local record = ARGV[at]
  at = at + 1
  local p = redis.call('XPENDING', stream, group, id, id, 1)
  if not p[1] or p[1][2] ~= consumer then return '0' end
  redis.call('HSET', failures, id, record)
  redis.call('PEXPIRE', failures, 604800000) -- a week without any failure
  return '1'
end

while at <= #ARGV do
  local letter, id = ARGV[at], ARGV[at + 1]
  at = at + 2
  local code = others[letter](id)
  if failed and letter ~= 'f' and code ~= 'e' then redis.call('HDEL', failures, id) end
  codes[#codes + 1] = code
end

for b, list in pairs(binds) do redis.call('HSET', KEYS[2 + b], unpack(list)) end
local now = redis.call('TIME')
return {table.concat(codes), now[1], now[2]}
