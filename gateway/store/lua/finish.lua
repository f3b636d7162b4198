-- What became of a request that claimed its Idempotency-Key: forget the claim, or note that its answer is kept or lost.
-- KEYS: 1 the claim (hash), 2 bytes kept for its key by hour, 3 the same for all keys
-- ARGV: 1 request id, 2 its secret, 3 "free" | "lost" | "kept", 4 seconds to keep it, 5 fingerprint of the request,
--       6 why it is lost, 7 status, 8 headers, 9 body, 10 and 11 bytes that may be kept for its key and for all keys
-- Returns what it is now: "free" | "lost" | "kept" | "other" (it is another request's)
-- A claim that the store has lost is written anew. Asking twice is free.

local ttl, most = whole(ARGV[4]), {whole(ARGV[10]), whole(ARGV[11])}
local had = redis.call('HMGET', KEYS[1], 'state', 'owner')
if had[1] and had[2] ~= ARGV[1] then return 'other' end
if had[1] == 'kept' then return 'kept' end
if ARGV[3] == 'free' then
  redis.call('HDEL', KEYS[1], 'state', 'owner', 'token', 'until', 'asked', 'why')
  return 'free'
end

local hour, size = math.floor(now / 3600), #ARGV[9]

-- What was kept in an hour is gone when as many seconds have passed since its end.
local function has_room(key, limit)
  local sum, all = size, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local over = (tonumber(all[i]) + 1) * 3600 + ttl < now
    if over then redis.call('HDEL', key, all[i]) else sum = sum + tonumber(all[i + 1]) end
  end
  return sum <= limit
end

local state, why = ARGV[3], ARGV[6]
if state == 'kept' and not (has_room(KEYS[2], most[1]) and has_room(KEYS[3], most[2])) then
  state, why = 'lost', 'full'
end
redis.call('HSET', KEYS[1], 'state', state, 'owner', ARGV[1], 'token', ARGV[2], 'print', ARGV[5], 'why', why)
redis.call('EXPIRE', KEYS[1], ttl)
if state == 'kept' then
  redis.call('HSET', KEYS[1], 'status', ARGV[7], 'headers', ARGV[8], 'body', ARGV[9], 'size', size)
  for i = 2, 3 do
    redis.call('HINCRBY', KEYS[i], hour, size)
    redis.call('EXPIRE', KEYS[i], ttl + 7200)
  end
end
return state
