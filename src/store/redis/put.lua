#!lua
-- Puts a value unless one is there; answers the one that is there then.
--
-- KEYS  1 value
-- ARGV  1 value  2 now  3 its end, or 0 when it has none
local held = redis.call('HMGET', KEYS[1], 'value', 'end')
if held[1] and (held[2] == '0' or tonumber(held[2]) > tonumber(ARGV[2])) then
  return held[1]
end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'end', ARGV[3])
if ARGV[3] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  -- As in remove.lua.
  local time = redis.call('TIME')
  local last = math.max(tonumber(ARGV[3]), time[1] * 1000000 + time[2])
  redis.call('PEXPIREAT', KEYS[1], string.format('%d', math.floor(last / 1000) + 60000))
end
return ARGV[1]
