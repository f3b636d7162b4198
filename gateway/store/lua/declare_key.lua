-- Write the record of a key that the configuration declares: its facts and its limits, never its numbers.
-- KEYS: 1 scope of the key, 2 names (hash: name to key id), 3 ids of declared keys (set), 4 scope of the key that the
--       name has now (1 again if it has none), 5 the audit stream
-- ARGV: 1 limits as JSON (as declare.lua), 2 name, 3 key id, 4 id that the name had when we looked ("" for none),
--       5 version, 6... facts: field, value
-- Returns "ok" | "admin" (an operator made a key of this name or id: nothing is done) | "changed" (look again)

local limits = cmsgpack.pack(cjson.decode(ARGV[1]))
if (redis.call('HGET', KEYS[2], ARGV[2]) or '') ~= ARGV[4] then return 'changed' end
local record = redis.call('HMGET', KEYS[1], 'v', 'origin', 'name')
if record[2] == 'admin' or redis.call('HGET', KEYS[4], 'origin') == 'admin' then return 'admin' end

if record[1] ~= ARGV[5] then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', 100000, '*',
    'door', 'config', 'action', 'keys.declare', 'what', ARGV[2], 'result', 'ok')
end
if record[3] and record[3] ~= ARGV[2] and redis.call('HGET', KEYS[2], record[3]) == ARGV[3] then
  redis.call('HDEL', KEYS[2], record[3])  -- the key has a new name
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('HSETNX', KEYS[1], 'made', now)
redis.call('HSET', KEYS[1], 'c', limits, 'v', ARGV[5], unpack(ARGV, 6))
return 'ok'
