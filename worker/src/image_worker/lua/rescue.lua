-- Empty the landing of a worker that fell silent, then forget the worker.
-- KEYS 8 its landing, 9 its record     ARGV worker, limit
-- Reply jobs moved, or -1: it is alive after all
local worker, limit = ARGV[1], tonumber(ARGV[2])
local deadline = redis.call('ZSCORE', key.workers, worker)
if deadline and tonumber(deadline) > now_ms() then return -1 end
local moved = empty_landing(KEYS[8], limit)
if moved < limit then
  redis.call('ZREM', key.workers, worker)
  redis.call('DEL', KEYS[9])
end
return moved
