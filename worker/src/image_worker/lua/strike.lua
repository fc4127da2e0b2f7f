-- Strike a worker off that fell silent.  What it held ends with its lease (reap); what it may have
-- landed lies where every claim looks first.
-- KEYS 8 its record     ARGV worker     Reply 1, or 0: it is alive after all
local deadline = redis.call('ZSCORE', key.workers, ARGV[1])
if deadline and tonumber(deadline) > now_ms() then return 0 end
redis.call('ZREM', key.workers, ARGV[1])
redis.call('DEL', KEYS[8])
return 1
