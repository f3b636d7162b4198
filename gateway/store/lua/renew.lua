-- Requests that still run: their leases begin anew. Says which of them belong to keys that are no longer good.
-- KEYS: 1 leases, 2... the key scope of each request
-- ARGV: 1 lease in ms, 2... the ids of the requests
-- Returns for each the state of its key: "active", "revoked", "expired", "gone"; "lost" if it holds no lease any more

local states = {}
for i = 2, #KEYS do
  if redis.call('ZADD', KEYS[1], 'XX', 'CH', now_ms + tonumber(ARGV[1]), ARGV[i]) == 0
      and not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    states[i - 1] = 'lost'
  else
    local key = redis.call('HMGET', KEYS[i], 'st', 'exp')
    local over = key[2] and key[2] ~= '' and tonumber(key[2]) <= now
    states[i - 1] = not key[1] and 'gone' or over and 'expired' or key[1]
  end
end
return states
