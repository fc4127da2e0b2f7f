-- Acknowledge a job that has an id, and remember that this id was done.
-- KEYS 8 memory of the id, 9 results
-- ARGV lease, busy_ms, what came of it or '', how many results are kept, memory_ms
-- Reply 1, or 0: the lease was lost, so nothing is remembered
if ack(ARGV[1], ARGV[2], KEYS[9], ARGV[3], ARGV[4]) == 0 then return 0 end
redis.call('SET', KEYS[8], 'done', 'PX', ARGV[5])
return 1
