-- Give a name that the configuration declares a new key, if it still has the one it had (or none) when we looked.
-- KEYS: 1 names (hash: name to key id), 2 scope of the new key
-- ARGV: 1 name, 2 id that it had ("" for none), 3 new id, 4 digest of the new key, 5 its last four characters
-- Returns 1 if the new key is the name's key now, 0 if somebody else was quicker

local has = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if has == ARGV[3] and redis.call('HGET', KEYS[2], 'kh') == ARGV[4] then return 1 end  -- asked again
if has ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], 'kh', ARGV[4], 'end', ARGV[5])
return 1
