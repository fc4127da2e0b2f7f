-- Hand a job back uncounted: to the head of the list, or, if it has a history, due at once.
-- ARGV lease     Reply 'list' | 'retry' | 'lost'
local lease = ARGV[1]
if redis.call('ZREM', key.inflight, lease) == 0 then return 'lost' end
local envelope = redis.call('HGET', key.jobs, lease)
if not envelope then return 'lost' end
local job = open(envelope)
if job and job.attempts == 0 and job.crashes == 0 then
  redis.call('LPUSH', key.list, job.raw)
  redis.call('HDEL', key.jobs, lease)
  return 'list'
end
redis.call('ZADD', key.retry, now_ms(), lease)
return 'retry'
