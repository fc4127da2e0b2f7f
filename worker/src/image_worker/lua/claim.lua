-- Acknowledge the last job, stay alive, and take the next one.
-- KEYS 8 landing, 9 results, 10 retired, 11 record of the worker
-- ARGV worker, token, lease_ms, finished lease or '', its busy_ms, 'retry' or 'new': which first,
--   what came of the finished job or '', how many results are kept
-- Reply {acked, 'job', envelope, 0} | {acked, 'none', '', ms until a retry is due or -1}
--     | {acked, 'spent', '', 0}: this token's job was lost to others; come with a fresh one
--     | {acked, 'retired', '', ms until that ends at the latest}: the pod is about to go
local worker, token, lease_ms, finished, busy_ms, first, result, kept = unpack(ARGV)
local landing = KEYS[8]
local now = now_ms()
local acked = ack(finished, busy_ms, KEYS[9], result, kept)
redis.call('ZADD', key.workers, now + lease_ms, worker)

local function grant(envelope)
  redis.call('ZADD', key.inflight, now + lease_ms, token)
  return {acked, 'job', envelope, 0}
end

-- The same token again: the reply was lost on its way, so give the same answer.
local known = redis.call('HGET', key.jobs, token)
if known then
  if redis.call('ZSCORE', key.inflight, token) then return grant(known) end
  return {acked, 'spent', '', 0}
end

-- What landed meanwhile goes to whoever may take it.
local retired_until = redis.call('ZSCORE', KEYS[10], pod_of(worker))
if retired_until and tonumber(retired_until) > now then
  empty_landing(landing, 1000)
  return {acked, 'retired', '', retired_until - now}
end

local function take_new(source)
  local raw = redis.call('LPOP', source)
  if not raw then return nil end
  local envelope = seal({id = token, attempts = 0, crashes = 0, why = '', raw = raw,
                         seen = string.format('%.0f', now)})
  redis.call('HSET', key.jobs, token, envelope)
  return envelope
end

-- A due job gets the claim's token as its new name: whoever held it under the old one holds
-- nothing any more.  The job id in its envelope stays.
local function take_due()
  for _ = 1, 10 do
    local lease = redis.call('ZRANGE', key.retry, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not lease then return nil end
    redis.call('ZREM', key.retry, lease)
    local envelope = redis.call('HGET', key.jobs, lease)
    if envelope then
      redis.call('HDEL', key.jobs, lease)
      redis.call('HSET', key.jobs, token, envelope)
      return envelope
    end
  end
  return nil
end

local envelope = take_new(landing)
if not envelope and first == 'retry' then envelope = take_due() end
envelope = envelope or take_new(key.list) or take_due()
if envelope then return grant(envelope) end

-- Idle since the first time that nothing was there for this token: a job in between changes it.
local idle = redis.call('HGET', KEYS[11], 'idle')
if not idle or string.match(idle, '^%S+') ~= token then
  redis.call('HSET', KEYS[11], 'idle', string.format('%s %.0f', token, now))
end

local soonest = redis.call('ZRANGE', key.retry, 0, 0, 'WITHSCORES')[2]
return {acked, 'none', '', soonest and math.max(0, soonest - now) or -1}
