-- Give a key a new secret; the present one stays good for a while. Id, limits and numbers stay.
-- KEYS: 1 the audit stream, 2 scope of the key
-- ARGV: 1 door, 2 action, 3 name, 4 version it is to have, 5 digest of the new secret, 6 its last four characters,
--       7 ms for which the present secret stays good (0: not at all)
-- Returns {"ok", end of the present secret in ms since 1970 (0: it has ended)} | {"none"} | {"config"} | {"revoked"}

local overlap = whole(ARGV[7])
local record = redis.call('HMGET', KEYS[2], 'v', 'origin', 'st', 'kh', 'kh2x')
if not record[1] then return {told('none')} end
if record[4] == ARGV[5] then return {'ok', tonumber(record[5] or 0)} end  -- asked again
if record[2] ~= 'admin' then return {told('config')} end
if record[3] == 'revoked' then return {told('revoked')} end
if overlap > 0 then
  redis.call('HSET', KEYS[2], 'kh2', record[4], 'kh2x', string.format('%.0f', now_ms + overlap))
else
  redis.call('HDEL', KEYS[2], 'kh2', 'kh2x')
end
redis.call('HSET', KEYS[2], 'kh', ARGV[5], 'end', ARGV[6], 'v', ARGV[4])
return {told('ok'), overlap > 0 and now_ms + overlap or 0}
