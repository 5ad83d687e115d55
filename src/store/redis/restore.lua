#!lua
-- Puts a job back as it is, unless another of its name, or a newer state, is there, or it was removed.
--
-- KEYS  as for create.lua
-- ARGV  1 incarnation  2 document  3 origin  4 state  5 next deadline  6 end of retention  7 seq  8 channel  9 node
--       10 channel of lifecycles  11 largest job that is told there
local held = redis.call('HMGET', KEYS[1], 'incarnation', 'seq')
if held[1] == ARGV[1] then
  if tonumber(held[2]) >= tonumber(ARGV[7]) then
    return 0
  end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
else
  redis.call('UNLINK', unpack(KEYS))
end
-- Which events it had of late nobody knows any more: whoever asks for some is told of a gap.
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'document', ARGV[2], 'origin', ARGV[3], 'state', ARGV[4],
  'seq', ARGV[7], 'expires', ARGV[6], 'deadline', ARGV[5], 'due', ARGV[5], 'dropped', ARGV[7])
redis.call('PUBLISH', ARGV[8], ARGV[9])
if #ARGV[2] <= tonumber(ARGV[11]) then
  redis.call('PUBLISH', ARGV[10], ARGV[9] .. ' entered ' .. ARGV[7] .. '\n' .. ARGV[2])
else
  redis.call('PUBLISH', ARGV[10], ARGV[9] .. ' moved ' .. ARGV[8])
end
return 1
