-- Close a request, once: release what it reserved, charge what it used, write its record.
-- KEYS: 1 key scope, 2 team scope, 3 upstream scope, 4 leases, 5 reservations, 6 settled ids of the request's hour,
--       7 usage of its hour, 8 usage of its day, 9 the stream of records
-- ARGV: 1 request id, 2 upstream, 3 - 6 used: usd, ms, characters, requests, 7 - 9 seconds to keep the settled ids,
--       the hours and the days, 10 prefix of the usage fields, 11 how many sums follow, then name and amount of each,
--       then the record's fields and values
-- Returns {"settled"} | {"again"} (was settled before: nothing is done)
--       | {"elsewhere", upstream} (it is reserved there: nothing is done, ask again with that one's scope)
-- Without a reservation (it was lost, or never made) the use is charged all the same.

local function whole(text)
  local number = tonumber(text)
  assert(number and number % 1 == 0, 'amounts must be whole numbers')
  return number
end

local used, ttl = {}, {}
for i = 1, 4 do used[i] = whole(ARGV[2 + i]) end
for i = 1, 3 do ttl[i] = whole(ARGV[6 + i]) end
local sums = whole(ARGV[11])
for i = 1, sums do whole(ARGV[11 + 2 * i]) end
assert(#ARGV >= 13 + 2 * sums, 'the record must not be empty')

local packed = redis.call('HGET', KEYS[5], ARGV[1])
local held = packed and cmsgpack.unpack(packed)
if held and held[3] ~= ARGV[2] then return {'elsewhere', held[3]} end
if redis.call('SADD', KEYS[6], ARGV[1]) == 0 then return {'again'} end
redis.call('EXPIRE', KEYS[6], ttl[1])

for i = 1, 3 do
  local s = load(KEYS[i])
  if held then reserve(s, held[4], -1) end
  for window = 1, 5 do
    for measure = 1, 4 do
      local at = 6 + window * 4 + measure
      s[at] = s[at] + used[measure]
    end
  end
  save(KEYS[i], s)
end
if held then
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
end

for i = 1, sums do
  local field, amount = ARGV[10] .. ARGV[10 + 2 * i], ARGV[11 + 2 * i]
  redis.call('HINCRBY', KEYS[7], field, amount)
  redis.call('HINCRBY', KEYS[8], field, amount)
end
redis.call('EXPIRE', KEYS[7], ttl[2])
redis.call('EXPIRE', KEYS[8], ttl[3])
redis.call('XADD', KEYS[9], '*', unpack(ARGV, 12 + 2 * sums))
return {'settled'}
