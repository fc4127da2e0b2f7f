-- Put before every script of this folder.  KEYS 1-7 are the same everywhere.
--
-- A script that fails half-way (a right is missing, a key is of another kind) stays half done.
-- So a job is put where it is to be before it is taken from where it was: it may be done twice,
-- and is never lost.
--
-- An envelope is what T+jobs holds of a job: one line of what the queue knows, then the
-- producer's bytes, which are never looked into:
--   <job id> <attempts> <crashes> <first seen, ms> <reason of the last failure> <sentence>\n<raw>
local key = {
  list = KEYS[1], jobs = KEYS[2], inflight = KEYS[3], retry = KEYS[4],
  dead = KEYS[5], workers = KEYS[6], stats = KEYS[7],
}

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(name, by)
  redis.call('HINCRBY', key.stats, name, by)
end

-- A worker's id ends with `@` and its pod, if it has one.
local function pod_of(worker)
  return string.match(worker, '@(.+)$') or ''
end

local function open(envelope)
  local line_end = string.find(envelope, '\n', 1, true)
  if not line_end then return nil end
  local line = string.sub(envelope, 1, line_end - 1)
  local id, attempts, crashes, seen, why = string.match(line, '^(%S+) (%d+) (%d+) (%d+) ?(.*)$')
  if not id then return nil end
  return {
    id = id, attempts = tonumber(attempts), crashes = tonumber(crashes), seen = seen, why = why,
    raw = string.sub(envelope, line_end + 1),
  }
end

local function seal(job)
  return string.format('%s %d %d %s ', job.id, job.attempts, job.crashes, job.seen)
    .. job.why .. '\n' .. job.raw
end

-- Reason and sentence become part of a line, so they must not break it.
local function why(reason, sentence)
  return (string.gsub(reason, '[%s%c]', '_')) .. ' ' .. (string.gsub(sentence, '%c', ' '))
end

local function bury(lease, now)
  redis.call('ZADD', key.dead, now, lease)
  count('dead', 1)
end

-- Record one crash of a job that is no longer in flight: due at once, or buried as poison.
local function crashed(lease, reason, sentence, max_crashes, now)
  count('crashed', 1)
  local envelope = redis.call('HGET', key.jobs, lease)
  local job = envelope and open(envelope)
  if not job then
    if envelope then bury(lease, now) end
    return envelope and 'buried' or 'lost'
  end
  job.crashes = job.crashes + 1
  local poison = job.crashes >= tonumber(max_crashes)
  if poison then
    sentence = string.format('it crashed %d workers; the last time: ', job.crashes) .. sentence
    reason = 'Poison'
  end
  job.why = why(reason, sentence)
  redis.call('HSET', key.jobs, lease, seal(job))
  if poison then
    bury(lease, now)
    return 'buried'
  end
  redis.call('ZADD', key.retry, now, lease)
  return 'retry'
end

-- Move up to `limit` entries of the landing back to the head of the list, in their old order.
local function empty_landing(landing, limit)
  local moved = 0
  while moved < limit do
    local raw = redis.call('RPOP', landing)
    if not raw then break end
    redis.call('LPUSH', key.list, raw)
    moved = moved + 1
  end
  return moved
end

-- Acknowledge a lease: 1 if it was still ours, 0 if others have the job by now.  What came of it
-- goes to the end of the list of results, which keeps the latest `kept`; in the same call, so that
-- each acknowledged job is in it once.
local function ack(lease, busy_ms, results, result, kept)
  if lease == '' or not redis.call('ZSCORE', key.inflight, lease) then return 0 end
  if result ~= '' then
    redis.call('RPUSH', results, result)
    redis.call('LTRIM', results, -kept, -1)
  end
  count('done', 1)
  count('busy_ms', busy_ms)
  redis.call('HDEL', key.jobs, lease)
  redis.call('ZREM', key.inflight, lease)
  return 1
end
