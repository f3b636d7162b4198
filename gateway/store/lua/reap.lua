-- End a reservation whose lease has run out: charge what it reserved, or give it back. A late settle corrects it.
-- KEYS: 1 leases, 2 reservations, 3 the stream of records, 4 key scope, 5 team scope, 6 upstream scope, 7 expired
--       reservations of its hour, 8 usage of the request's hour, 9 usage of its day
-- ARGV: 1 request id, 2 upstream, 3 "charge" or else, 4 - 6 seconds to keep what expired, the hours and the days,
--       7 sums and record, as in settle.lua
-- Returns 1 | 0 (its lease was renewed, or somebody else ended it: nothing is done)

local ttl, item = {whole(ARGV[4]), whole(ARGV[5]), whole(ARGV[6])}, cjson.decode(ARGV[7])
local sums = sums_of(item)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
local packed = redis.call('HGET', KEYS[2], ARGV[1])
if not lease or not packed or tonumber(lease) > now_ms then return 0 end
local held = cmsgpack.unpack(packed)
if held[3] ~= ARGV[2] then return 0 end

local used = ARGV[3] == 'charge' and held[4] or {0, 0, 0, 0}
local expired = {
  key = held[1], team = held[2], upstream = held[3], ids = {}, used = used, sums = sums, at = now, charged = held[8],
}
for i, scope in ipairs(three_scopes(KEYS[4], KEYS[5], KEYS[6])) do
  expired.ids[i] = {unpack(scope.s, 2, 6)}
  reserve(scope, held[4], -1)
  charge(scope, used, 1)
  save(scope)
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[7], ARGV[1], cmsgpack.pack(expired))
redis.call('EXPIRE', KEYS[7], ttl[1])
add_sums(sums, 1, KEYS[8], KEYS[9])
save_sums()
redis.call('EXPIRE', KEYS[8], ttl[2])
redis.call('EXPIRE', KEYS[9], ttl[3])
redis.call('XADD', KEYS[3], '*', unpack(item.record))
return 1
