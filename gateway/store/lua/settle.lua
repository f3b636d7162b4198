-- Close a request, once: release what it reserved, charge what it used, write its record.
-- KEYS: 1 key scope, 2 team scope, 3 upstream scope, 4 leases, 5 reservations, 6 settled ids of the request's hour,
--       7 usage of its hour, 8 usage of its day, 9 the stream of records, 10 its hour's expired reservations
-- ARGV: 1 request id, 2 upstream, 3 - 6 used: usd, ms, characters, requests, 7 - 9 seconds to keep the settled ids,
--       the hours and the days, 10 prefix of the usage fields, 11 how many sums follow, then name and amount of each,
--       then the record's fields and values
-- Returns {"settled"} | {"again"} (was settled before: nothing is done)
--       | {"elsewhere", upstream} (it is reserved there: nothing is done, ask again with that one's scope)
-- Without a reservation (it was lost, or never made) the use is charged all the same. If the reservation expired and
-- was charged, that is taken back first, in the windows that are still the same.

local used, ttl = {}, {}
for i = 1, 4 do used[i] = whole(ARGV[2 + i]) end
for i = 1, 3 do ttl[i] = whole(ARGV[6 + i]) end
local sums, rest = read_sums(11, ARGV[10])

local packed = redis.call('HGET', KEYS[5], ARGV[1])
local held = packed and cmsgpack.unpack(packed)
if held and held[3] ~= ARGV[2] then return {'elsewhere', held[3]} end
packed = redis.call('HGET', KEYS[10], ARGV[1])
local expired = packed and cmsgpack.unpack(packed)
if expired and expired.upstream ~= ARGV[2] then return {'elsewhere', expired.upstream} end
if redis.call('SADD', KEYS[6], ARGV[1]) == 0 then return {'again'} end
redis.call('EXPIRE', KEYS[6], ttl[1])

if expired then
  for i = 1, 3 do
    local s = load(KEYS[i])
    for window = 1, 5 do
      for measure = 1, 4 do
        local at = 6 + window * 4 + measure
        if s[1 + window] == expired.ids[window] then s[at] = s[at] - expired.used[measure] end
      end
    end
    save(KEYS[i], s)
  end
  for _, pair in ipairs(expired.sums) do pair[2] = -pair[2] end
  add_sums(expired.sums, KEYS[7], KEYS[8], ttl[2], ttl[3])
  redis.call('HDEL', KEYS[10], ARGV[1])
  redis.call('XADD', KEYS[9], '*', 'id', ARGV[1], 'takes_back', expired.used[1], unpack(ARGV, rest + 2))
else
  redis.call('XADD', KEYS[9], '*', unpack(ARGV, rest))
end
account(held and held[4], used)
if held then
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
end
add_sums(sums, KEYS[7], KEYS[8], ttl[2], ttl[3])
return {'settled'}
