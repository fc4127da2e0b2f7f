-- Close pods that are idle: from now on, their workers get no more jobs (docs/protocol.md).
-- All of it in one script, so that no claim comes between looking and closing.
-- KEYS 1 inflight, 2 retired     ARGV ms after which it ends by itself, pods...
-- Reply the pods that are closed now; one that holds a lease is left as it is
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local busy = {}
for _, lease in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local pod = string.match(lease, '@(.*)%-%d+$')
  if not pod then return {} end -- its worker may be in any of them
  busy[pod] = true
end
local closed = {}
for i = 2, #ARGV do
  if not busy[ARGV[i]] then
    redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[i])
    closed[#closed + 1] = ARGV[i]
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return closed
