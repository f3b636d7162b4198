-- Note up to where records are exported: whoever keeps them has them, so they may be trimmed. It only moves forward.
-- KEYS: 1 the stream of records, 2 what is exported (hash: `cursor`, and what trim.lua keeps beside it)
-- ARGV: 1 cursor: the id of a record
-- Returns {"ok" | "behind" (it is further already) | "beyond" (no record has this id yet), the cursor that holds}

local function place(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  assert(ms, 'a cursor must be the id of a record')
  return {tonumber(ms), tonumber(number)}
end

local function before(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then last = facts[i + 1] end
  end
end
local has = redis.call('HGET', KEYS[2], 'cursor') or '0-0'
if before(place(last), place(ARGV[1])) then return {'beyond', has} end
if before(place(ARGV[1]), place(has)) then return {'behind', has} end
redis.call('HSET', KEYS[2], 'cursor', ARGV[1])
return {'ok', ARGV[1]}
