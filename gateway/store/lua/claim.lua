-- The first request with an Idempotency-Key claims it; all others are told what became of that one.
-- KEYS: 1 the claim (hash)
-- ARGV: 1 request id, 2 its secret, 3 lease in ms, 4 seconds to keep the claim, 5 how often its answer may be asked for
-- Returns {"mine", secret} | {"under_way"}
--       | {"kept" or "lost", secret, fingerprint, id of the first request, why it is lost, status, headers, bytes}
-- A lease that ran out with nothing said: its gateway is gone, and what it did is not known. It is never claimed again.

local lease, ttl, most = whole(ARGV[3]), whole(ARGV[4]), whole(ARGV[5])
local had = redis.call('HMGET', KEYS[1], 'state', 'owner', 'until')
if not had[1] or (had[1] == 'claimed' and had[2] == ARGV[1]) then
  redis.call('HSET', KEYS[1], 'state', 'claimed', 'owner', ARGV[1], 'token', ARGV[2], 'until', now_ms + lease)
  redis.call('EXPIRE', KEYS[1], ttl)
  return {'mine', ARGV[2]}
end
if had[1] == 'claimed' then
  if tonumber(had[3]) > now_ms then return {'under_way'} end
  redis.call('HSET', KEYS[1], 'state', 'lost', 'why', 'gone')
end
if redis.call('HINCRBY', KEYS[1], 'asked', 1) > most and had[1] == 'kept' then
  redis.call('HDEL', KEYS[1], 'body')
  redis.call('HSET', KEYS[1], 'state', 'lost', 'why', 'asked')
end
local found = redis.call('HMGET', KEYS[1], 'state', 'token', 'print', 'owner', 'why', 'status', 'headers', 'size')
for i = 1, #found do found[i] = found[i] or '' end
return found
