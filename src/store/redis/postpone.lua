#!lua flags=allow-oom
-- Moves an entry of the index of deadlines, unless somebody has done so meanwhile.
--
-- KEYS  1 index
-- ARGV  1 entry  2 the deadline that it had  3 its deadline, or nothing
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not held or tonumber(held) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
