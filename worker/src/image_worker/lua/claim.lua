-- Acknowledge the last job, stay alive, and take the next one.
-- KEYS 8 landing, 9 results, 10 retired, 11 record of the worker
-- ARGV worker, lease_ms, how many results are kept, the most bytes of a job, 'retry' or 'new':
--   which first; token, finished lease or '', its busy_ms, what came of the finished job or ''
-- Reply {acked, refused, ...}: how many jobs were buried for their length, and then
--   envelope: a job | 'none', ms until a retry is due or -1
--   | 'spent', 0: this token's job was lost to others; come with a fresh one
--   | 'retired', ms until that ends at the latest: the pod is about to go
local worker, lease_ms, kept, most, first, token, finished, busy_ms, result = unpack(ARGV)
local landing = KEYS[8]
local now = now_ms()
local acked = ack(finished, busy_ms, KEYS[9], result, kept)
redis.call('ZADD', key.workers, now + lease_ms, worker)

-- The same token again: the reply was lost on its way, so give the same answer.
local known = redis.call('HGET', key.jobs, token)
if known then
  if not redis.call('ZSCORE', key.inflight, token) then return {acked, 0, 'spent', 0} end
  redis.call('ZADD', key.inflight, now + lease_ms, token)
  return {acked, 0, known}
end

-- What landed meanwhile goes to whoever may take it.
local retired_until = redis.call('ZSCORE', KEYS[10], pod_of(worker))
if retired_until and tonumber(retired_until) > now then
  empty_landing(landing, 1000)
  return {acked, 0, 'retired', retired_until - now}
end

-- What is longer than a worker takes is buried here: to be sent would take longer than a lease.
local REFUSALS = 10
local refused = 0
most = tonumber(most)

local function refuse(job, lease)
  refused = refused + 1
  count('failed', 1)
  job.attempts = job.attempts + 1
  job.why = why('PayloadTooLarge', string.format(
    'the payload has %d bytes; %d are the most: push the name of the file, not the file',
    #job.raw, most))
  redis.call('HSET', key.jobs, lease, seal(job))
  bury(lease, now)
end

local function hold(envelope)
  redis.call('ZADD', key.inflight, now + lease_ms, token)
  redis.call('HSET', key.jobs, token, envelope)
end

-- What was taken off a list goes back to its head if the next step fails half-way.
local function or_back(source, raw, step, ...)
  local done, trouble = pcall(step, ...)
  if done then return end
  redis.call('LPUSH', source, raw)
  error(trouble)
end

local function take_new(source)
  while refused < REFUSALS do
    local raw = redis.call('LPOP', source)
    if not raw then return nil end
    local job = {id = token, attempts = 0, crashes = 0, why = '', raw = raw,
                 seen = string.format('%.0f', now)}
    if #raw <= most then
      local envelope = seal(job)
      or_back(source, raw, hold, envelope)
      return envelope
    end
    -- A name that no claim has, and no other refusal either: the token may come again.
    job.id = string.format('%s.%d', token, redis.call('HINCRBY', key.stats, 'failed', 0))
    or_back(source, raw, refuse, job, job.id)
  end
  return nil
end

-- A due job gets the claim's token as its new name: whoever held it under the old one holds
-- nothing any more.  The job id in its envelope stays.
local function take_due()
  for _ = 1, 10 do
    local lease = redis.call('ZRANGE', key.retry, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not lease then return nil end
    local envelope = redis.call('HGET', key.jobs, lease)
    local job = envelope and #envelope > most and open(envelope)
    local refuses = job and #job.raw > most
    if refuses then
      refuse(job, lease)
    elseif envelope then
      hold(envelope)
      redis.call('HDEL', key.jobs, lease)
    end
    redis.call('ZREM', key.retry, lease)
    if envelope and not refuses then return envelope end
  end
  return nil
end

local envelope = take_new(landing)
if not envelope and first == 'retry' then envelope = take_due() end
envelope = envelope or take_new(key.list) or take_due()
if envelope then return {acked, refused, envelope} end

-- Idle since the first time that nothing was there for this token: a job in between changes it.
local idle = redis.call('HGET', KEYS[11], 'idle')
if not idle or string.match(idle, '^%S+') ~= token then
  redis.call('HSET', KEYS[11], 'idle', string.format('%s %.0f', token, now))
end

if refused == REFUSALS then return {acked, refused, 'none', 0} end
local soonest = redis.call('ZRANGE', key.retry, 0, 0, 'WITHSCORES')[2]
return {acked, refused, 'none', soonest and math.max(0, soonest - now) or -1}
