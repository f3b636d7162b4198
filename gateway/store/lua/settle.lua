-- Close a request, once: release what it reserved, charge what it used, write its record.
-- KEYS: 1 key scope, 2 team scope, 3 upstream scope, 4 leases, 5 reservations, 6 settled ids of the request's hour,
--       7 usage of its hour, 8 usage of its day, 9 the stream of records, 10 its hour's expired reservations,
--       11... scopes of upstreams that failed and cost something all the same
-- ARGV: 1 request id, 2 upstream, 3 - 6 used by key and team: usd, ms, characters, requests, 7 - 10 the same at the
--       upstream, 11 - 13 seconds to keep the settled ids, the hours and the days, then the four amounts of each of
--       KEYS 11..., then how many sums follow, field and amount of each, then the record's fields and values
-- Returns {"settled"} | {"again"} (was settled before: nothing is done)
--       | {"elsewhere", upstream, key scope, team scope} (it is reserved there: nothing is done, ask again with these)
-- Without a reservation (it was lost, or never made) the use is charged all the same. If the reservation expired and
-- was charged, that is taken back first, in the windows that are still the same.

local used, cost = read_amounts(3), read_amounts(7)
local ttl, failed = {whole(ARGV[11]), whole(ARGV[12]), whole(ARGV[13])}, {}
for i = 11, #KEYS do failed[i] = read_amounts(14 + 4 * (i - 11)) end
local sums, rest = read_sums(14 + 4 * (#KEYS - 10))

local packed = redis.call('HGET', KEYS[5], ARGV[1])
local held = packed and cmsgpack.unpack(packed)
if held and (held[3] ~= ARGV[2] or held[1] ~= KEYS[1] or held[2] ~= KEYS[2]) then
  return {'elsewhere', held[3], held[1], held[2]}
end
packed = redis.call('HGET', KEYS[10], ARGV[1])
local expired = packed and cmsgpack.unpack(packed)
if expired and (expired.upstream ~= ARGV[2] or expired.key ~= KEYS[1] or expired.team ~= KEYS[2]) then
  return {'elsewhere', expired.upstream, expired.key, expired.team}
end
if redis.call('SADD', KEYS[6], ARGV[1]) == 0 then return {'again'} end
redis.call('EXPIRE', KEYS[6], ttl[1])

if expired then
  for _, pair in ipairs(expired.sums) do pair[2] = -pair[2] end
  add_sums(expired.sums, KEYS[7], KEYS[8], ttl[2], ttl[3])
  redis.call('HDEL', KEYS[10], ARGV[1])
  redis.call('XADD', KEYS[9], '*', 'id', ARGV[1], 'takes_back', expired.used[1], unpack(ARGV, rest + 2))
else
  redis.call('XADD', KEYS[9], '*', unpack(ARGV, rest))
end
for i, scope in ipairs(three_scopes()) do
  if expired then charge(scope, expired.used, -1, expired.ids[i]) end
  if held then reserve(scope, held[4], -1) end
  charge(scope, i < 3 and used or cost, 1)
  save(scope)
end
local charged = held and held[8] or expired and expired.charged or {}  -- by switch.lua
for i = 11, #KEYS do
  if not charged[KEYS[i]] then
    local scope = load(KEYS[i], UTC)
    charge(scope, failed[i], 1)
    save(scope)
  end
end
if held then
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
end
add_sums(sums, KEYS[7], KEYS[8], ttl[2], ttl[3])
return {'settled'}
