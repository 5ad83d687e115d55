#!lua
-- Applies a change to a job, whole or not at all.
--
-- KEYS  1 job, 2 events, 3 rows, 4 ledger, 5 the ledger's ages
-- ARGV  1 incarnation     2 the seq it was made on   3 positions        4 nonce
--       5 document        6 state                    7 end of retention 8 next deadline
--       9 whether the index has this state and this deadline already
--      10 time of the change  11 channel             12 node
--      13 most events     14 most bytes of events    15 largest message that carries the change
--      16 events          17 rows                    18 answers: how many of each
--      19 when a worker last gave a sign of life; a later one that another node took stands
--      20 channel of lifecycles
--      then place, name and data of each event; the rows; report id, place and text of each answer
--
-- Numbers are below 2^53, which Lua's doubles hold; they are written by '%d', since tostring() rounds.
local DAY = 86400000000
local REMEMBERED = 1000
local OVERHEAD = 128

local job, events, rows, ledger, ages = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local held = redis.call('HMGET', job, 'incarnation', 'seq', 'state', 'due', 'dropped', 'event_bytes',
  'reported')
if held[1] ~= ARGV[1] then
  return {'missing'}
end

local now = tonumber(ARGV[10])
local event_count, row_count, answer_count = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local first_row = 21 + 3 * event_count
local first_answer = first_row + row_count

local known = {}
for at = first_answer, first_answer + 3 * answer_count - 1, 3 do
  local entry = redis.call('HGET', ledger, ARGV[at])
  if entry and tonumber(string.match(entry, '^%d+')) + DAY > now then
    known[#known + 1] = ARGV[at]
    known[#known + 1] = entry
  end
end
if held[2] ~= ARGV[2] or #known > 0 then
  local whole = redis.call('HMGET', job, 'document', 'seq', 'nonce', 'reported')
  return {'conflict', whole[1], whole[2], whole[3] or '', whole[4] or '', unpack(known)}
end

local deadline, due, reported = ARGV[8], held[4], ARGV[19]
if held[7] and tonumber(held[7]) > tonumber(reported) then
  -- Every deadline is counted from the last sign of life.
  if deadline ~= '' then
    deadline = string.format('%d', deadline + held[7] - reported)
  end
  reported = held[7]
end
if deadline ~= '' and (due == '' or tonumber(deadline) < tonumber(due)) then
  due = deadline
end
if ARGV[9] ~= '1' and (held[3] ~= ARGV[6] or held[4] ~= due) then
  return {'unindexed'}
end

local prev, positions = tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local first = math.max(prev + 1, time[1] * 1000000 + time[2])
local function seq_at(place)
  if place == 0 then
    return string.format('%d', prev)
  end
  return string.format('%d', first + place - 1)
end
local seq = seq_at(positions)
redis.call('HSET', job, 'document', ARGV[5], 'seq', seq, 'nonce', ARGV[4], 'state', ARGV[6],
  'expires', ARGV[7], 'deadline', deadline, 'due', due, 'reported', reported)

local told = {ARGV[12], ' ', ARGV[2], ' ', seq, '\n', ARGV[5], '\n'}
local told_bytes = #ARGV[5]
if event_count > 0 then
  local bytes = tonumber(held[6] or '0')
  for at = 21, first_row - 1, 3 do
    local own, name, data = seq_at(tonumber(ARGV[at])), ARGV[at + 1], ARGV[at + 2]
    redis.call('XADD', events, own .. '-0', 'name', name, 'data', data)
    bytes = bytes + OVERHEAD + #name + #data
    told_bytes = told_bytes + #name + #data
    for _, part in ipairs({own, ' ', name, ' ', data, '\n'}) do
      told[#told + 1] = part
    end
  end
  local count, leaving = redis.call('XLEN', events), nil
  while count > 0 and (count > tonumber(ARGV[13]) or bytes > tonumber(ARGV[14])) do
    for _, entry in ipairs(redis.call('XRANGE', events, '-', '+', 'COUNT', 16)) do
      if count > tonumber(ARGV[13]) or bytes > tonumber(ARGV[14]) then
        count = count - 1
        bytes = bytes - OVERHEAD - #entry[2][2] - #entry[2][4]
        leaving = string.match(entry[1], '^%d+')
      end
    end
    redis.call('XTRIM', events, 'MINID', string.format('%d', leaving + 1))
  end
  local dropped = held[5] or '0'
  -- One that was put back has lost later events than those that it still has.
  if leaving and tonumber(leaving) > tonumber(dropped) then
    dropped = leaving
  end
  redis.call('HSET', job, 'event_bytes', string.format('%d', bytes), 'dropped', dropped)
end

-- In slices, since a call takes no more arguments than Lua's stack has room for.
for from = first_row, first_answer - 1, 1000 do
  redis.call('RPUSH', rows, unpack(ARGV, from, math.min(from + 999, first_answer - 1)))
end

if answer_count > 0 then
  for at = first_answer, first_answer + 3 * answer_count - 1, 3 do
    local entry = string.format('%d %s %s', now, seq_at(tonumber(ARGV[at + 1])), ARGV[at + 2])
    redis.call('HSET', ledger, ARGV[at], entry)
    redis.call('ZADD', ages, string.format('%d', now), ARGV[at])
  end
  local outdated = redis.call('ZRANGEBYSCORE', ages, '-inf', string.format('%d', now - DAY), 'LIMIT', 0, 1000)
  local surplus = redis.call('ZCARD', ages) - #outdated - REMEMBERED
  if surplus > 0 then
    outdated = redis.call('ZRANGE', ages, 0, #outdated + surplus - 1)
  end
  if #outdated > 0 then
    redis.call('HDEL', ledger, unpack(outdated))
    redis.call('ZREM', ages, unpack(outdated))
  end
end

if told_bytes > tonumber(ARGV[15]) then
  told = {ARGV[12]}
end
redis.call('PUBLISH', ARGV[11], table.concat(told))
if held[3] ~= ARGV[6] then
  if #ARGV[5] <= tonumber(ARGV[15]) then
    redis.call('PUBLISH', ARGV[20], ARGV[12] .. ' entered ' .. seq .. '\n' .. ARGV[5])
  else
    redis.call('PUBLISH', ARGV[20], ARGV[12] .. ' moved ' .. ARGV[11])
  end
end
return {'done', ARGV[2], string.format('%d', first), held[3]}
