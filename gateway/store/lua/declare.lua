-- Write the record of a team or an upstream that the configuration declares: its facts and its limits, never its
-- numbers.
-- KEYS: 1 scope; for a team 2 the teams (hash) and 3 the audit stream
-- ARGV: 1 limits as JSON: [most in flight, [measure, window, limit], ...], 2 name, 3 version, 4... facts: field, value
-- Returns "ok" | "admin" (an operator made a team of this name: nothing is done)

local limits = cmsgpack.pack(cjson.decode(ARGV[1]))
local record = redis.call('HMGET', KEYS[1], 'v', 'origin')
if record[2] == 'admin' then return 'admin' end
if KEYS[3] and record[1] ~= ARGV[3] then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100000, '*',
    'door', 'config', 'action', 'teams.declare', 'what', ARGV[2], 'result', 'ok')
end
if KEYS[2] then
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[2])
  redis.call('HSETNX', KEYS[1], 'made', now)
end
redis.call('HSET', KEYS[1], 'c', limits, 'v', ARGV[3])
if #ARGV > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 4)) end
return 'ok'
