-- May this request go, and to whom? Checks everything first, then reserves on key, team and one upstream.
-- KEYS: 1 key scope, 2 team scope, 3 leases (zset), 4 reservations (hash), 5 settled ids of the request's hour,
--       6... scopes of the candidates, best first
-- ARGV: 1 request id, 2 digest of the key, 3 version of the key's record, 4 of the team's, 5 lease in ms,
--       6 "admit" or "peek" (all checks, nothing reserved), 7... per candidate: name, usd, ms, characters,
--       then the model and the route, for the record of a request whose gateway died
-- Returns {"ok", candidate's name, limit, remaining, ms to reset, window, per mille}: the tightest limit on requests of
--         key and team, then the window of the team that is used up furthest and what is left of it; -1 where not limited
--       | {"gone"} | {"bad"} | {"state", state} | {"stale"} | {"full", denial, ...}
--         denial = {scope, candidate, measure, window, limit, used, asked, ms to wait, missing in the shard's grant}
--       | {"over"}: this request was settled; nobody waits for it any more, and nothing is reserved
-- A request id that is already reserved gets its answer again: asking twice is free.

local function answer(name, key, team)
  local best = {-1, -1, -1}
  local window, left = -1, 1000
  for _, scope in ipairs({key, team}) do
    for i = 2, #scope.rows do
      local row = scope.rows[i]
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

local days = calendar_of(KEYS[2])
local key, team = load(KEYS[1], days), load(KEYS[2], days)
local held = redis.call('HGET', KEYS[4], ARGV[1])
if held then return answer(cmsgpack.unpack(held)[3], key, team) end
if redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 1 then return {'over'} end

local record = redis.call('HMGET', KEYS[1], 'kh', 'st', 'exp', 'v', 'kh2', 'kh2x')
if not record[1] then return {'gone'} end
local previous = record[5] == ARGV[2] and tonumber(record[6] or 0) > now_ms  -- the secret before the last rotation
if record[1] ~= ARGV[2] and not previous then return {'bad'} end
if record[2] ~= 'active' then return {'state', record[2]} end
if record[3] and record[3] ~= '' and tonumber(record[3]) <= now then return {'state', 'expired'} end
if record[4] ~= ARGV[3] or redis.call('HGET', KEYS[2], 'v') ~= ARGV[4] then return {'stale'} end

local candidates = read_candidates(7, 6)
local candidate, denials = choose(key, team, candidates, true)
if not candidate then return {'full', unpack(denials)} end
if ARGV[6] == 'peek' then return answer(candidate.name, key, team) end

for _, scope in ipairs({key, team, candidate.scope}) do
  reserve(scope, candidate.amounts, 1)
  pass(scope)
  save(scope)
end
redis.call('ZADD', KEYS[3], now_ms + tonumber(ARGV[5]), ARGV[1])
local told = 7 + 4 * #candidates
local held_now = {KEYS[1], KEYS[2], candidate.name, candidate.amounts, now_ms, ARGV[told] or '', ARGV[told + 1] or ''}
redis.call('HSET', KEYS[4], ARGV[1], cmsgpack.pack(held_now))
return answer(candidate.name, key, team)
