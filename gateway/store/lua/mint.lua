-- Give a name a new key, if it still has the one it had (or none) when we looked.
-- KEYS: 1 names (hash: name to key id), 2 scope of the new key
-- ARGV: 1 name, 2 id that it had ("" for none), 3 new id, 4 digest of the new key
-- Returns 1 if the new key is the name's key now, 0 if somebody else was quicker

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], 'kh', ARGV[4])
return 1
