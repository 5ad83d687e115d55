#!lua flags=allow-oom
-- Reads entries of the stream, until there are no more, or what was read is enough. One after the other, since they
-- may be of any size; of a report that is too large only so much is answered that this can be seen.
--
-- KEYS  1 stream
-- ARGV  1 group  2 this reader  3 most entries  4 bytes that are enough  5 most bytes of one report
--       then the entries that are wanted; without any, those that nobody has read yet
local ids = #ARGV - 5
local most, enough, longest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local found, bytes, looked = {}, 0, 0
while looked < most and (ids == 0 or looked < ids) and bytes < enough do
  local entry
  if ids == 0 then
    local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
    entry = read and read[1][2][1]
    if not entry then
      break
    end
  else
    -- None, when somebody has deleted it.
    local id = ARGV[6 + looked]
    entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  end
  looked = looked + 1
  if entry then
    local fields, report = entry[2], false
    if #fields == 2 and fields[1] == 'report' then
      report = string.sub(fields[2], 1, longest)
      bytes = bytes + #report
    end
    found[#found + 1] = {entry[1], report}
  end
end
return {looked, found}
