-- End a reservation whose lease has run out: charge what it reserved, or give it back. A late settle corrects it.
-- KEYS: 1 key scope, 2 team scope, 3 upstream scope, 4 leases, 5 reservations, 6 expired reservations of its hour,
--       7 usage of the request's hour, 8 usage of its day, 9 the stream of records
-- ARGV: 1 request id, 2 upstream, 3 "charge" or else, 4 - 6 seconds to keep what expired, the hours and the days,
--       7 how many sums follow, then field and amount of each, then the record
-- Returns 1 | 0 (its lease was renewed, or somebody else ended it: nothing is done)

local ttl = {whole(ARGV[4]), whole(ARGV[5]), whole(ARGV[6])}
local sums, rest = read_sums(7)
local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
local packed = redis.call('HGET', KEYS[5], ARGV[1])
if not lease or not packed or tonumber(lease) > now_ms then return 0 end
local held = cmsgpack.unpack(packed)
if held[3] ~= ARGV[2] then return 0 end

local used = ARGV[3] == 'charge' and held[4] or {0, 0, 0, 0}
local expired = {
  key = held[1], team = held[2], upstream = held[3], ids = {}, used = used, sums = sums, at = now, charged = held[8],
}
for i, scope in ipairs(three_scopes()) do
  expired.ids[i] = {unpack(scope.s, 2, 6)}
  reserve(scope, held[4], -1)
  charge(scope, used, 1)
  save(scope)
end
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[6], ARGV[1], cmsgpack.pack(expired))
redis.call('EXPIRE', KEYS[6], ttl[1])
add_sums(sums, KEYS[7], KEYS[8], ttl[2], ttl[3])
redis.call('XADD', KEYS[9], '*', unpack(ARGV, rest))
return 1
