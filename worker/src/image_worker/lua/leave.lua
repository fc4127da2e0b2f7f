-- A clean goodbye: acknowledge, put what landed back where those who wait see it, be forgotten.
-- KEYS 8 landing, 9 record, 10 results
-- ARGV worker, finished lease or '', its busy_ms, what came of it or '', how many results are kept
-- Reply {acked, jobs given back}
local acked = ack(ARGV[2], ARGV[3], KEYS[10], ARGV[4], ARGV[5])
local moved = empty_landing(KEYS[8], 1000)
redis.call('ZREM', key.workers, ARGV[1])
redis.call('DEL', KEYS[9])
return {acked, moved}
