-- Take jobs back from holders who fell silent.
-- ARGV limit, max_crashes, blame_after: a deadline up to this says nothing about the holder,
--   because Redis was away when it should have been renewed (docs/protocol.md)
-- Reply {reaped, buried}
local limit, max_crashes, blame_after = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local expired = redis.call(
  'ZRANGE', key.inflight, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local reaped, buried = 0, 0
for i = 1, #expired, 2 do
  local lease, deadline = expired[i], tonumber(expired[i + 1])
  reaped = reaped + 1
  if deadline <= blame_after then
    redis.call('ZADD', key.retry, now, lease)
  elseif crashed(lease, 'LeaseExpired', 'its worker fell silent', max_crashes, now) == 'buried' then
    buried = buried + 1
  end
  redis.call('ZREM', key.inflight, lease)
end
return {reaped, buried}
