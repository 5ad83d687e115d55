#!lua flags=no-writes
-- Whether a claim is still held by a node under the number that it was given.
--
-- KEYS  1 claim
-- ARGV  1 node  2 number
local held = redis.call('HMGET', KEYS[1], 'node', 'until', 'number')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if held[1] == ARGV[1] and held[3] == ARGV[2] and tonumber(held[2]) > now then
  return 1
end
return 0
