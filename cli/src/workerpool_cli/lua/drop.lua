#!lua flags=allow-oom
-- Forget dead letters for good. Allowed in a full Redis: it makes room.
-- KEYS list, jobs, dead     ARGV dead letters (the caller sends a bounded number)
-- Reply one of 'dropped' | 'gone' for each
local jobs, dead = KEYS[2], KEYS[3]
local answers = {}
for i, lease in ipairs(ARGV) do
  answers[i] = 'gone'
  if redis.call('ZREM', dead, lease) == 1 then
    redis.call('HDEL', jobs, lease)
    answers[i] = 'dropped'
  end
end
return answers
