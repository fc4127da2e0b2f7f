-- Renew workers and leases; never register or revive any.
-- KEYS 8... records of the workers
-- ARGV lease_ms, record_ms, number of workers, workers..., leases...
-- Reply {now, lost leases, number of expired leases, up to 10 expired workers}
local lease_ms, record_ms, workers = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
for i = 1, workers do
  redis.call('ZADD', key.workers, 'XX', now + lease_ms, ARGV[3 + i])
  redis.call('PEXPIRE', KEYS[7 + i], record_ms)
end
local lost = {}
for i = 4 + workers, #ARGV do
  if redis.call('ZSCORE', key.inflight, ARGV[i]) then
    redis.call('ZADD', key.inflight, 'XX', now + lease_ms, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return {
  string.format('%.0f', now),
  lost,
  redis.call('ZCOUNT', key.inflight, '-inf', now),
  redis.call('ZRANGE', key.workers, '-inf', now, 'BYSCORE', 'LIMIT', 0, 10),
}
