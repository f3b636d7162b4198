-- Take note of what this shard was granted of an upstream's quotas. Where that is nothing, it asks no more for a second.
-- KEYS: 1 scope of the upstream in this shard
-- ARGV: 1 a text that no other grant has, then for each quota: measure, window, id of the window, granted
-- What was granted in a window that has ended is lost. Asked twice, it is noted once.

local scope = load(KEYS[1], UTC)
local g = cmsgpack.unpack(redis.call('HGET', KEYS[1], 'g') or cmsgpack.pack({}))
for i = 2, #ARGV, 4 do
  local at, id, amount = ARGV[i] .. ' ' .. ARGV[i + 1], whole(ARGV[i + 2]), whole(ARGV[i + 3])
  local had = g[at] and g[at][1] == id and g[at] or {id, 0, 0, ''}
  if id == scope.s[1 + whole(ARGV[i + 1])] and had[4] ~= ARGV[1] then
    g[at] = {id, had[2] + amount, amount > 0 and 0 or now + 1, ARGV[1]}
  end
end
save(scope)
redis.call('HSET', KEYS[1], 'g', cmsgpack.pack(g))
return 'ok'
