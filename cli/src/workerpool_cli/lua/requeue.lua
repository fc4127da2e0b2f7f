#!lua
-- Put dead letters back to the tail of their list, as they were pushed: attempts and crashes
-- start at zero, because nothing but the producer's bytes goes back.
-- KEYS list, jobs, dead     ARGV dead letters (the caller sends a bounded number)
-- Reply one of 'requeued' | 'gone' | 'unreadable' for each
local list, jobs, dead = KEYS[1], KEYS[2], KEYS[3]
local answers = {}
for i, lease in ipairs(ARGV) do
  local answer = 'gone'
  if redis.call('ZSCORE', dead, lease) then
    local envelope = redis.call('HGET', jobs, lease)
    local line_end = envelope and string.find(envelope, '\n', 1, true)
    if line_end then
      redis.call('RPUSH', list, string.sub(envelope, line_end + 1))
      redis.call('ZREM', dead, lease)
      redis.call('HDEL', jobs, lease)
      answer = 'requeued'
    else
      answer = 'unreadable'
    end
  end
  answers[i] = answer
end
return answers
