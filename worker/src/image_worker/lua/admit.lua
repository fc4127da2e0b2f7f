-- Before a job is worked on that asks for a time, or to be done once: may it be?
-- KEYS 8 memory of the job's id, if it has one
-- ARGV lease, not before (ms) or '', twin_ms: how long to wait for another with the same id,
--   held_ms: how long a holder is remembered
-- Reply 'go' | 'early' and 'twin': it waits among the retries, uncounted | 'duplicate': a job with
--   its id was done, so it is forgotten | 'lost'
local lease, not_before, twin_ms, held_ms = unpack(ARGV)
local now = now_ms()
if not redis.call('ZSCORE', key.inflight, lease) then return 'lost' end

local function wait_until(due)
  redis.call('ZADD', key.retry, due, lease)
  redis.call('ZREM', key.inflight, lease)
end

if not_before ~= '' and tonumber(not_before) > now then
  wait_until(not_before)
  return 'early'
end
if KEYS[8] then
  local holder = redis.call('GET', KEYS[8])
  if holder == 'done' then
    count('duplicate', 1)
    redis.call('HDEL', key.jobs, lease)
    redis.call('ZREM', key.inflight, lease)
    return 'duplicate'
  end
  -- A holder that is not in flight has failed, or fell silent: then it is our turn.
  if holder and holder ~= lease and redis.call('ZSCORE', key.inflight, holder) then
    wait_until(now + twin_ms)
    return 'twin'
  end
  redis.call('SET', KEYS[8], lease, 'PX', held_ms)
end
return 'go'
