#!lua
-- Puts a new job unless one of its name is there.
--
-- KEYS  1 job, 2 events, 3 rows, 4 ledger, 5 its ages, 6 input, 7 claim
-- ARGV  1 incarnation  2 document  3 origin  4 state  5 next deadline  6 now
--       7 whether there is an input, 8 the input  9 channel  10 node
--       11 channel of lifecycles  12 largest job that is told there
local held = redis.call('HMGET', KEYS[1], 'incarnation', 'expires', 'seq', 'document', 'nonce', 'origin',
  'reported')
if held[1] and (held[2] == '' or tonumber(held[2]) > tonumber(ARGV[6])) then
  return {'exists', held[4], held[3], held[5] or '', held[7] or ''}
end
local time = redis.call('TIME')
local seq = time[1] * 1000000 + time[2]
if held[3] then
  -- Above every seq of an earlier job of the name, whose watchers may come back.
  seq = math.max(seq, held[3] + 1)
end
redis.call('UNLINK', unpack(KEYS))
seq = string.format('%d', seq)
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'document', ARGV[2], 'origin', ARGV[3], 'state', ARGV[4],
  'seq', seq, 'expires', '', 'deadline', ARGV[5], 'due', ARGV[5])
if ARGV[7] == '1' then
  redis.call('SET', KEYS[6], ARGV[8])
end
redis.call('PUBLISH', ARGV[9], ARGV[10])
if #ARGV[2] <= tonumber(ARGV[12]) then
  redis.call('PUBLISH', ARGV[11], ARGV[10] .. ' entered ' .. seq .. '\n' .. ARGV[2])
else
  redis.call('PUBLISH', ARGV[11], ARGV[10] .. ' moved ' .. ARGV[9])
end
-- Of an earlier job, whose retention had ended, only its entries in the index are left.
return {'done', seq, held[1] and held[6] or ''}
