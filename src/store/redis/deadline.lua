#!lua flags=allow-oom
-- Looks at a job that the index says is due. When it is not, its next commit has to name its deadline to the index
-- again, since its entry there is about to be moved.
--
-- KEYS  1 job
-- ARGV  1 incarnation  2 now
local held = redis.call('HMGET', KEYS[1], 'incarnation', 'deadline')
if held[1] ~= ARGV[1] then
  return ''
end
if held[2] ~= '' and tonumber(held[2]) <= tonumber(ARGV[2]) then
  return 'due'
end
redis.call('HSET', KEYS[1], 'due', '')
return held[2]
