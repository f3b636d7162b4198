-- Close requests, each once: release what it reserved, charge what it used, write its record.
-- KEYS: 1 leases, 2 reservations, 3 the stream of records, then all scopes and hours that are named below
-- ARGV: 1 - 3 seconds to keep the settled ids, the hours and the days, 4 the requests as JSON: a list of {rid, kid,
--       team, model, upstream, route, on (the names of the scopes of key, team and upstream that it is reserved on), hour
--       and day, used and cost (usd, ms, characters, requests: by key and team, and at the upstream), failed:
--       {{upstream, usd, ms, characters, requests}, ...} (what failed attempts cost all the same), sums: {{metric,
--       amount}, ...}, record: {field, value, ...}}
-- Returns for each {"settled"} | {"again"} (was settled before: nothing is done)
--       | {"elsewhere", upstream, key scope, team scope} (it is reserved there: nothing is done, ask again with these)
--       | {"error", text} (nothing is done)
-- Without a reservation (it was lost, or never made) the use is charged all the same. If the reservation expired and
-- was charged, that is taken back first, in the windows that are still the same.

local prefix, seconds = string.match(KEYS[1], '^(.-:)'), {}
local keep = {whole(ARGV[1]), whole(ARGV[2]), whole(ARGV[3])}

local function found(hash, rid)
  local packed = redis.call('HGET', hash, rid)
  return packed and cmsgpack.unpack(packed)
end

-- Also where an attempt failed: `switch` may have charged that already, and noted it.
local function charge_failed(failed, noted)
  for _, one in ipairs(failed) do
    if not noted[one.key] then
      local scope = load(one.key, UTC)
      charge(scope, one.amounts, 1)
      save(scope)
    end
  end
end

local function write(item, hour, expired)
  if not expired then return redis.call('XADD', KEYS[3], '*', unpack(item.record)) end
  add_sums(expired.sums, -1, hour, prefix .. 'day:' .. item.day)
  redis.call('HDEL', prefix .. 'expired:' .. item.hour, item.rid)
  -- The record begins with the id.
  redis.call('XADD', KEYS[3], '*', 'id', item.rid, 'takes_back', expired.used[1], unpack(item.record, 3))
end

local function one(item)
  local used, cost, sums, failed = four(item.used), four(item.cost), sums_of(item), {}
  for i, spent in ipairs(item.failed) do
    failed[i] = {key = prefix .. 'u:' .. spent[1], amounts = four({unpack(spent, 2)})}
  end
  local on, hour = item.on, prefix .. 'hour:' .. item.hour
  local key, team, upstream = prefix .. on[1], prefix .. on[2], string.sub(on[3], 3)
  if upstream ~= item.upstream then  -- what was reserved is released there, what was paid is charged where it was
    failed[#failed + 1] = {key = prefix .. 'u:' .. item.upstream, amounts = cost}
    cost = {0, 0, 0, 0}
  end
  local held = found(KEYS[2], item.rid)
  if held and (held[3] ~= upstream or held[1] ~= key or held[2] ~= team) then
    return {'elsewhere', held[3], held[1], held[2]}
  end
  local expired = found(prefix .. 'expired:' .. item.hour, item.rid)
  if expired and (expired.upstream ~= upstream or expired.key ~= key or expired.team ~= team) then
    return {'elsewhere', expired.upstream, expired.key, expired.team}
  end
  local done = prefix .. 'done:' .. item.hour
  if redis.call('SADD', done, item.rid) == 0 then return {'again'} end
  seconds[done], seconds[hour], seconds[prefix .. 'day:' .. item.day] = keep[1], keep[2], keep[3]

  write(item, hour, expired)
  for i, scope in ipairs(three_scopes(key, team, prefix .. on[3])) do
    if expired then charge(scope, expired.used, -1, expired.ids[i]) end
    if held then reserve(scope, held[4], -1) end
    charge(scope, i < 3 and used or cost, 1)
    save(scope)
  end
  charge_failed(failed, held and held[8] or expired and expired.charged or {})
  if held then
    redis.call('HDEL', KEYS[2], item.rid)
    redis.call('ZREM', KEYS[1], item.rid)
  end
  add_sums(sums, 1, hour, prefix .. 'day:' .. item.day)
  return {'settled'}
end

local answers = each(cjson.decode(ARGV[4]), one)
if answers.err then return answers end
save_sums()
for key, ttl in pairs(seconds) do redis.call('EXPIRE', key, ttl) end
return answers
