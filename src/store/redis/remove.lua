#!lua flags=allow-oom
-- Removes a job; its name is known as gone for a time. With a time of now, only when its retention has ended.
--
-- KEYS  as for create.lua
-- ARGV  1 incarnation  2 until when it is known as gone, or how much longer than its retention
--       3 now, or nothing  4 channel  5 node  6 channel of lifecycles
local held = redis.call('HMGET', KEYS[1], 'incarnation', 'origin', 'seq', 'expires')
if held[1] ~= ARGV[1] then
  return false
end
local gone = tonumber(ARGV[2])
if ARGV[3] ~= '' then
  if held[4] == '' or tonumber(held[4]) > tonumber(ARGV[3]) then
    return false
  end
  gone = tonumber(held[4]) + gone
end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'origin', held[2], 'seq', held[3], 'gone', string.format('%d', gone))
-- Whoever reads looks at the time itself; this only takes the memory back. A minute is for clocks that differ.
local time = redis.call('TIME')
local last = math.max(gone, time[1] * 1000000 + time[2])
redis.call('PEXPIREAT', KEYS[1], string.format('%d', math.floor(last / 1000) + 60000))
redis.call('PUBLISH', ARGV[4], ARGV[5])
if ARGV[3] == '' then
  -- When retentions end everybody knows without being told.
  redis.call('PUBLISH', ARGV[6], ARGV[5] .. ' removed ' .. ARGV[1] .. ' ' .. ARGV[4])
end
return held[2]
