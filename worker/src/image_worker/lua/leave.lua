-- A clean goodbye: acknowledge, give back what landed, and be forgotten.
-- KEYS 8 landing, 9 record     ARGV worker, finished lease or '', its busy_ms
-- Reply {acked, jobs given back}
local acked = ack(ARGV[2], ARGV[3])
local moved = empty_landing(KEYS[8], 1000)
redis.call('ZREM', key.workers, ARGV[1])
redis.call('DEL', KEYS[9])
return {acked, moved}
