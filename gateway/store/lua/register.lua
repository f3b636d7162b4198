-- Enter a key or a team that an operator makes.
-- KEYS: 1 the audit stream, 2 names (hash: name to id), 3 scope of the new one, 4 for a key: scope of its team
-- ARGV: 1 door, 2 action, 3 name, 4 id, 5 version, 6 limits as JSON (as declare.lua), 7... facts: field, value
-- Returns "ok" | "taken" (there is or was one of this name) | "no_team"
-- A team that the configuration has dropped may be made anew; its numbers stay.

local limits = cmsgpack.pack(cjson.decode(ARGV[6]))
local has = redis.call('HGET', KEYS[2], ARGV[3])
local record = redis.call('HMGET', KEYS[3], 'v', 'st')
if has == ARGV[4] and record[1] == ARGV[5] then return 'ok' end  -- asked again
if (has or record[1]) and record[2] ~= 'dropped' then return told('taken') end
if KEYS[4] then
  local team = redis.call('HMGET', KEYS[4], 'v', 'st')
  if not team[1] or team[2] == 'dropped' then return told('no_team') end
end

redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[3], 'c', limits, 'v', ARGV[5], 'origin', 'admin', 'made', now, unpack(ARGV, 7))
return told('ok')
