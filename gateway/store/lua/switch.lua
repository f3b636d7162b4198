-- Move a reservation to another upstream, at that one's price. All or nothing.
-- KEYS: 1 key scope, 2 team scope, 3 reservations, 4 scope of the upstream that holds it now, 5... candidates
-- ARGV: 1 request id, 2 name of the upstream that holds it now, 3 - 6 what the attempt there cost all the same: usd, ms,
--       characters, requests, 7 the candidates as JSON: a list of {name, usd, ms, characters}
-- Returns {"ok", candidate's name} | {"gone"} (no such reservation there) | {"full", denial, ...} as admit.lua

local packed = redis.call('HGET', KEYS[3], ARGV[1])
if not packed then return {'gone'} end
local held = cmsgpack.unpack(packed)
local spent = four({unpack(ARGV, 3, 6)})
local candidates = candidates_of(cjson.decode(ARGV[7]), string.match(KEYS[3], '^(.-:)'))
for _, candidate in ipairs(candidates) do  -- asked again after an answer was lost: it is already there
  if held[3] == candidate.name and held[3] ~= ARGV[2] then return {'ok', held[3]} end
end
if held[3] ~= ARGV[2] then return {'gone'} end

local days = calendar_of(KEYS[2])
local key, team = load(KEYS[1], days), load(KEYS[2], days)
reserve(key, held[4], -1)
reserve(team, held[4], -1)
local candidate, denials = choose(key, team, candidates, false)
if not candidate then return {'full', unpack(denials)} end

local from = load(KEYS[4], UTC)
local to = candidate.key == KEYS[4] and from or candidate.scope
reserve(from, held[4], -1)
if spent[4] > 0 then  -- it counts there at once; settle.lua finds it noted and does not charge it again
  charge(from, spent, 1)
  held[8] = held[8] or {}
  held[8][KEYS[4]] = 1
end
save(from)
pass(to)
for _, scope in ipairs({key, team, to}) do
  reserve(scope, candidate.amounts, 1)
  save(scope)
end
held[3], held[4] = candidate.name, candidate.amounts
redis.call('HSET', KEYS[3], ARGV[1], cmsgpack.pack(held))
return {'ok', candidate.name}
