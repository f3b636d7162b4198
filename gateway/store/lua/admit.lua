-- May this request go, and to whom? Checks everything first, then reserves on key, team and one upstream.
-- KEYS: 1 key scope, 2 team scope, 3 leases (zset), 4 reservations (hash), 5... scopes of the candidates, best first
-- ARGV: 1 request id, 2 digest of the key, 3 version of the key's record, 4 of the team's, 5 lease in ms,
--       6 "admit" or "peek" (all checks, nothing reserved), 7... per candidate: name, usd, ms, characters,
--       then the model and the route, for the record of a request whose gateway died
-- Returns {"ok", candidate's name, limit, remaining, ms to reset, window, per mille}: the tightest limit on requests of
--         key and team, then the window of the team that is used up furthest and what is left of it; -1 where not limited
--       | {"gone"} | {"bad"} | {"state", state} | {"stale"} | {"full", denial, ...}
--         denial = {scope, candidate, measure, window, limit, used, asked, ms to wait}
-- A request id that is already reserved gets its answer again: asking twice is free.

local function answer(name, key, team)
  local best = {-1, -1, -1}
  for _, scope in ipairs({key, team}) do
    for i = 2, #scope.rows do
      local measure, window, limit = scope.rows[i][1], scope.rows[i][2], scope.rows[i][3]
      if measure == 4 then
        local remaining = math.max(0, limit - scope.s[6 + window * 4 + 4] - scope.s[10])
        if best[1] < 0 or remaining < best[2] then best = {limit, remaining, wait_for(window)} end
      end
    end
  end
  local window, left = -1, 1000
  for i = 2, #team.rows do
    local measure, one, limit = team.rows[i][1], team.rows[i][2], team.rows[i][3]
    local part = math.floor(1000 * math.max(0, limit - team.s[6 + one * 4 + measure] - team.s[6 + measure]) / limit)
    if window < 0 or part < left then window, left = one, part end
  end
  return {'ok', name, best[1], best[2], best[3], window, left}
end

local record = redis.call('HMGET', KEYS[1], 'kh', 'st', 'exp', 'v', 'kh2', 'kh2x')
if not record[1] then return {'gone'} end
local previous = record[5] == ARGV[2] and tonumber(record[6] or 0) > now_ms  -- the secret before the last rotation
if record[1] ~= ARGV[2] and not previous then return {'bad'} end
if record[2] ~= 'active' then return {'state', record[2]} end
if record[3] and record[3] ~= '' and tonumber(record[3]) <= now then return {'state', 'expired'} end
if record[4] ~= ARGV[3] or redis.call('HGET', KEYS[2], 'v') ~= ARGV[4] then return {'stale'} end

local key = {s = load(KEYS[1]), rows = rows_of(KEYS[1])}
local team = {s = load(KEYS[2]), rows = rows_of(KEYS[2])}
local held = redis.call('HGET', KEYS[4], ARGV[1])
if held then return answer(cmsgpack.unpack(held)[3], key, team) end

local candidates = read_candidates(7, 5)
local chosen, denials = choose(key, team, candidates)
if not chosen then return {'full', unpack(denials)} end
local candidate = candidates[chosen]
if ARGV[6] == 'peek' then return answer(candidate.name, key, team) end

local upstream = load(candidate.key)
reserve(key.s, candidate.amounts, 1)
reserve(team.s, candidate.amounts, 1)
reserve(upstream, candidate.amounts, 1)
save(KEYS[1], key.s)
save(KEYS[2], team.s)
save(candidate.key, upstream)
redis.call('ZADD', KEYS[3], now_ms + tonumber(ARGV[5]), ARGV[1])
local told = 7 + 4 * #candidates
local held_now = {KEYS[1], KEYS[2], candidate.name, candidate.amounts, now_ms, ARGV[told] or '', ARGV[told + 1] or ''}
redis.call('HSET', KEYS[4], ARGV[1], cmsgpack.pack(held_now))
return answer(candidate.name, key, team)
