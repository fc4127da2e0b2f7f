-- Acknowledge a job without taking another, and remember that its id was done, if it has one.
-- KEYS 8 results, 9 memory of the id
-- ARGV lease, busy_ms, what came of it or '', how many results are kept, memory_ms
-- Reply 1, or 0: the lease was lost, so nothing is remembered
if ack(ARGV[1], ARGV[2], KEYS[8], ARGV[3], ARGV[4]) == 0 then return 0 end
if KEYS[9] then redis.call('SET', KEYS[9], 'done', 'PX', ARGV[5]) end
return 1
