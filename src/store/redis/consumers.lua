#!lua flags=allow-oom
-- Forgets readers of a stream that left nothing behind and are long gone. In one with the look at what they left,
-- since what a reader has not finished is lost with it.
--
-- KEYS  1 stream
-- ARGV  1 group  2 this reader  3 milliseconds of silence
local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local fields = {}
  for at = 1, #consumer, 2 do
    fields[consumer[at]] = consumer[at + 1]
  end
  if fields.name ~= ARGV[2] and fields.pending == 0 and fields.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fields.name)
    forgotten = forgotten + 1
  end
end
return forgotten
