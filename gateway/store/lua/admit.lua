-- May these requests go, and to whom? For each everything is checked first, then reserved on key, team and an upstream.
-- KEYS: 1 leases (zset), 2 reservations (hash), then all scopes and settled ids that are named below
-- ARGV: 1 lease in ms, 2 the requests as JSON: a list of {rid, key and team (their names), digest (of the key shown),
--       versions (of the records of key and team), hour (in which it began), offers: {{upstream, usd, ms, characters},
--       ...} (best first), peek (all checks, nothing reserved), model and route, for the record of a request whose
--       gateway died}
-- Returns for each {"ok", candidate's name, limit, remaining, ms to reset, window, per mille}: the tightest limit on
--         requests of key and team, then the window of the team that is used up furthest and what is left of it; -1
--         where not limited
--       | {"gone"} | {"bad"} | {"state", state} | {"stale"} | {"full", denial, ...}
--         denial = {scope, candidate, measure, window, limit, used, asked, ms to wait, missing in the shard's grant}
--       | {"over"}: this request was settled; nobody waits for it any more, and nothing is reserved
--       | {"error", text}: nothing is reserved
-- A request id that is already reserved gets its answer again: asking twice is free.

local prefix, lease = string.match(KEYS[1], '^(.-:)'), tonumber(ARGV[1])

local function answer(name, key, team)
  local best = {-1, -1, -1}
  local window, left = -1, 1000
  for _, scope in ipairs({key, team}) do
    local rows = rows_of(scope)
    for i = 2, #rows do
      local row = rows[i]
      local used, reserved, wait = standing(scope, row)
      local most = row[4] or row[3]
      local remaining = math.max(0, most - used - reserved)
      if row[1] == 4 and (best[1] < 0 or remaining < best[2]) then best = {row[3], remaining, wait} end
      local part = math.floor(1000 * remaining / most)
      if scope == team and (window < 0 or part < left) then window, left = row[2], part end
    end
  end
  return {'ok', name, best[1], best[2], best[3], window, left}
end

local versions = {}

local function refused(item, key, team)
  local record = redis.call('HMGET', key, 'kh', 'st', 'exp', 'v', 'kh2', 'kh2x')
  if not record[1] then return {'gone'} end
  local previous = record[5] == item.digest and tonumber(record[6] or 0) > now_ms  -- from before the last rotation
  if record[1] ~= item.digest and not previous then return {'bad'} end
  if record[2] ~= 'active' then return {'state', record[2]} end
  if record[3] and record[3] ~= '' and tonumber(record[3]) <= now then return {'state', 'expired'} end
  versions[team] = versions[team] or redis.call('HGET', team, 'v')
  if record[4] ~= item.versions[1] or versions[team] ~= item.versions[2] then return {'stale'} end
end

return each(cjson.decode(ARGV[2]), function(item)
  local names = {key = prefix .. 'k:' .. item.key, team = prefix .. 't:' .. item.team}
  local candidates = candidates_of(item.offers, prefix)
  local days = calendar_of(names.team)
  local key, team = load(names.key, days), load(names.team, days)
  local held = redis.call('HGET', KEYS[2], item.rid)
  if held then return answer(cmsgpack.unpack(held)[3], key, team) end
  if redis.call('SISMEMBER', prefix .. 'done:' .. item.hour, item.rid) == 1 then return {'over'} end
  local no = refused(item, names.key, names.team)
  if no then return no end
  local candidate, denials = choose(key, team, candidates, true)
  if not candidate then return {'full', unpack(denials)} end
  if item.peek then return answer(candidate.name, key, team) end

  redis.call('ZADD', KEYS[1], now_ms + lease, item.rid)
  local told = {names.key, names.team, candidate.name, candidate.amounts, now_ms, item.model, item.route}
  redis.call('HSET', KEYS[2], item.rid, cmsgpack.pack(told))
  for _, scope in ipairs({key, team, candidate.scope}) do
    reserve(scope, candidate.amounts, 1)
    pass(scope)
    save(scope)
  end
  return answer(candidate.name, key, team)
end)
