-- Hand a job back uncounted: to the head of the list, or, if it has a history, due at once.
-- ARGV lease     Reply 'list' | 'retry' | 'lost'
local lease = ARGV[1]
if not redis.call('ZSCORE', key.inflight, lease) then return 'lost' end
local envelope = redis.call('HGET', key.jobs, lease)
local job = envelope and open(envelope)
local to = 'lost'
if job and job.attempts == 0 and job.crashes == 0 then
  redis.call('LPUSH', key.list, job.raw)
  redis.call('HDEL', key.jobs, lease)
  to = 'list'
elseif envelope then
  redis.call('ZADD', key.retry, now_ms(), lease)
  to = 'retry'
end
redis.call('ZREM', key.inflight, lease)
return to
