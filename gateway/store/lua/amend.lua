-- Change the record of a key or a team that an operator made: its facts and its limits, never its numbers.
-- KEYS: 1 the audit stream, 2 scope, 3 for a key that changes teams: scope of the new team
-- ARGV: 1 door, 2 action, 3 name, 4 version that it had when we looked, 5 version it is to have, 6 limits as JSON (as
--       declare.lua), 7... facts: field, value
-- Returns "ok" | "none" | "config" (the configuration declares it) | "revoked" | "changed" (look again) | "no_team"

local limits = cmsgpack.pack(cjson.decode(ARGV[6]))
local record = redis.call('HMGET', KEYS[2], 'v', 'origin', 'st')
if not record[1] then return told('none') end
if record[1] == ARGV[5] then return 'ok' end  -- asked again
if record[2] ~= 'admin' then return told('config') end
if record[3] == 'revoked' then return told('revoked') end
if record[1] ~= ARGV[4] then return 'changed' end
if KEYS[3] then
  local team = redis.call('HMGET', KEYS[3], 'v', 'st')
  if not team[1] or team[2] == 'dropped' then return told('no_team') end
end
redis.call('HSET', KEYS[2], 'c', limits, 'v', ARGV[5], unpack(ARGV, 7))
return told('ok')
