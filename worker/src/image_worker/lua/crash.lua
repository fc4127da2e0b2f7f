-- The process that ran the job is gone, and its supervisor saw it: no need to wait for the lease.
-- ARGV lease, reason, sentence, max_crashes     Reply 'retry' | 'buried' | 'lost'
local lease, reason, sentence, max_crashes = unpack(ARGV)
if not redis.call('ZSCORE', key.inflight, lease) then return 'lost' end
local settled = crashed(lease, reason, sentence, max_crashes, now_ms())
redis.call('ZREM', key.inflight, lease)
return settled
