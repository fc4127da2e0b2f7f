-- Stay known while blocking: sent in one write with the BLMOVE that follows it.
-- ARGV worker, lease_ms     Reply 1
redis.call('ZADD', key.workers, now_ms() + ARGV[2], ARGV[1])
return 1
