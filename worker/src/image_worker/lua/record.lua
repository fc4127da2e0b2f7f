-- Keep what a worker tells of itself.
-- KEYS 8 record     ARGV record_ms, field, value, ...     Reply 1
local fields = {}
for i = 2, #ARGV do fields[i - 1] = ARGV[i] end
redis.call('HSET', KEYS[8], unpack(fields))
redis.call('PEXPIRE', KEYS[8], ARGV[1])
return 1
