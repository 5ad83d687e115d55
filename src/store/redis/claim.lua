#!lua flags=allow-oom
-- Takes a claim, or renews it; answers its number, which rises with every change of hands.
--
-- KEYS  1 claim, and, when it is that of a job, 2 the job
-- ARGV  1 node  2 milliseconds  3 the job's incarnation
if KEYS[2] and redis.call('HGET', KEYS[2], 'incarnation') ~= ARGV[3] then
  return false
end
local held = redis.call('HMGET', KEYS[1], 'node', 'until', 'number')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if held[1] and held[1] ~= ARGV[1] and tonumber(held[2]) > now then
  return false
end
local number = tonumber(held[3] or '0')
if held[1] ~= ARGV[1] then
  number = number + 1
end
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'until', string.format('%d', now + ARGV[2]),
  'number', string.format('%d', number))
return number
