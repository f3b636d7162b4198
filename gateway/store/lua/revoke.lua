-- Revoke a key, or drop a team that the configuration no longer names. Numbers stay.
-- KEYS: 1 the audit stream, 2 scope, 3 for a key of the configuration: ids of declared keys (set)
-- ARGV: 1 door, 2 action, 3 name, 4 id, 5 state it is to have, 6 origin of those that this door may touch
-- Returns "ok" | "none" | "config" or "admin" (its origin: not for this door)

local record = redis.call('HMGET', KEYS[2], 'v', 'origin', 'st')
if KEYS[3] then redis.call('SREM', KEYS[3], ARGV[4]) end
if not record[1] then return told('none') end
local origin = record[2] or 'config'  -- records of older versions do not say
if origin ~= ARGV[6] then return told(origin) end
if record[3] == ARGV[5] then return told('ok') end
redis.call('HSET', KEYS[2], 'st', ARGV[5], 'v', 'gone')
return told('ok')
