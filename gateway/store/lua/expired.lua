-- Reservations whose lease has run out: their gateway is gone, or was away for longer than the lease.
-- KEYS: 1 leases, 2 reservations
-- ARGV: 1 how many at most
-- Returns for each {request id, key scope, team scope, upstream, usd, ms, characters, requests, model, route}

local found = {}
for _, rid in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local packed = redis.call('HGET', KEYS[2], rid)
  if packed then
    local held = cmsgpack.unpack(packed)
    local a = held[4]
    found[#found + 1] = {rid, held[1], held[2], held[3], a[1], a[2], a[3], a[4], held[6] or '', held[7] or ''}
  else
    redis.call('ZREM', KEYS[1], rid)
  end
end
return found
