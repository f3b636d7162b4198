-- Write the record of a key, team or upstream: its facts and its limits, never its numbers.
-- KEYS: 1 scope
-- ARGV: 1 limits as JSON: [most in flight, [measure, window, limit], ...], then the facts: field, value, ...

redis.call('HSET', KEYS[1], 'c', cmsgpack.pack(cjson.decode(ARGV[1])))
if #ARGV > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
return 'ok'
