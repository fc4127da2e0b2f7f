-- A failed attempt: retry later, or bury when it was the last.
-- ARGV lease, reason, sentence, max_attempts, delay_ms     Reply 'retry' | 'buried' | 'lost'
local lease, reason, sentence, max_attempts, delay_ms = unpack(ARGV)
if not redis.call('ZSCORE', key.inflight, lease) then return 'lost' end
local now = now_ms()
count('failed', 1)

local function gone(to)
  redis.call('ZREM', key.inflight, lease)
  return to
end

local envelope = redis.call('HGET', key.jobs, lease)
local job = envelope and open(envelope)
if not job then
  if envelope then bury(lease, now) end
  return gone(envelope and 'buried' or 'lost')
end
job.attempts = job.attempts + 1
job.why = why(reason, sentence)
redis.call('HSET', key.jobs, lease, seal(job))
if job.attempts >= tonumber(max_attempts) then
  bury(lease, now)
  return gone('buried')
end
redis.call('ZADD', key.retry, now + delay_ms, lease)
return gone('retry')
