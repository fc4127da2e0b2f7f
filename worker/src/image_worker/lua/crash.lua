-- The process that ran the job is gone, and its supervisor saw it: no need to wait for the lease.
-- ARGV lease, reason, sentence, max_crashes     Reply 'retry' | 'buried' | 'lost'
local lease, reason, sentence, max_crashes = unpack(ARGV)
if redis.call('ZREM', key.inflight, lease) == 0 then return 'lost' end
return crashed(lease, reason, sentence, max_crashes, now_ms())
