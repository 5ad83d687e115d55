#!lua flags=allow-oom
-- Lets go of a claim. Who had it last stays known, and so does its number.
--
-- KEYS  1 claim, and, when it is that of a job, 2 the job
-- ARGV  1 node  2 the job's incarnation
if KEYS[2] and redis.call('HGET', KEYS[2], 'incarnation') ~= ARGV[2] then
  return 0
end
if redis.call('HGET', KEYS[1], 'node') ~= ARGV[1] then
  return 0
end
return redis.call('HSET', KEYS[1], 'until', '0')
