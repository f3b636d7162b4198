-- Put in front of every script, behind calendar.lua: the numbers of a scope (a key, a team, an upstream) and its rates.
--
-- A scope is a hash. Its field `s` is a msgpack array of 32 numbers:
--   1        requests in flight
--   2 - 6    ids of the current minute, hour, day, month and of the one window that never ends
--   7 - 10   reserved: micro-USD, milliseconds of audio, characters, requests
--   11 - 30  used: for each of the five windows the same four
--   31 - 32  requests per minute and per hour as rates: when the bucket is full again, in microseconds since 1970
-- Its field `c` is a msgpack array {most in flight (0: any number), {measure 1-4, window 1-5, limit, burst}, ...}.
-- A row with a burst is a rate (GCRA, the generic cell rate algorithm: a bucket of `burst` requests that fills up evenly
-- by `limit` a window); the others are quotas of fixed windows. A row {measure, window, limit, false, true} is a quota
-- that several shards draw from: in each of them only what it was granted (field `g`) may be used.
-- Reserved amounts have no window: a request is charged to the windows that are current when it is settled.

local loaded, unsaved = {}, nil  -- the scopes by key; those to be saved at the end, for scripts that do many things

local function load(key, days)
  local scope = loaded[key]
  if not scope then
    local found = redis.call('HMGET', key, 's', 'c')
    scope = {key = key, s = found[1] and cmsgpack.unpack(found[1]) or {}, c = found[2]}
    for i = #scope.s + 1, 32 do scope.s[i] = 0 end
    loaded[key] = scope
  end
  if scope.days ~= days then
    local s = scope.s
    scope.days = days
    for window = 1, 5 do
      -- Forward, or back by more than one: a clock set back a little over a boundary must not give a budget anew.
      local was, is = s[1 + window], days.ids[window]
      if is > was or is < was - 1 then
        s[1 + window] = is
        for measure = 1, 4 do s[6 + window * 4 + measure] = 0 end
      end
    end
  end
  return scope
end

local function rows_of(scope)
  scope.rows = scope.rows or scope.c and cmsgpack.unpack(scope.c) or {0}
  return scope.rows
end

local function save(scope)
  if unsaved then
    unsaved[scope.key] = scope
  else
    redis.call('HSET', scope.key, 's', cmsgpack.pack(scope.s))
  end
end

-- For scripts that do many things: what `save` was told meanwhile.
local function save_all()
  local all = unsaved
  unsaved = nil
  for _, scope in pairs(all) do save(scope) end
end

-- A rate: microseconds between two requests (whole ones: sums of fractions go wrong, and a burst would end one early),
-- how long a full burst takes to come back, and when this bucket is full again (never later than it would be if it were
-- empty: a clock may be set back, and limits change).
local function rate(scope, row)
  local every = math.ceil((row[2] == 1 and 60000000 or 3600000000) / row[3])
  return every, row[4] * every, math.min(math.max(scope.s[30 + row[2]], now_us), now_us + row[4] * every)
end

-- How far a row is used and how much is reserved, and the milliseconds until it is whole again (-1: never).
local function standing(scope, row)
  if row[4] then
    local every, _, full = rate(scope, row)
    return math.ceil((full - now_us) / every), 0, math.ceil((full - now_us) / 1000)
  end
  return scope.s[6 + row[2] * 4 + row[1]], scope.s[6 + row[1]], wait_for(scope.days, row[2])
end

-- What a shard was granted of a quota in its present window, and whether it asks for more: field `g`, a msgpack map
-- "measure window" to {id of the window, amount, until when it does not ask again because there was no more}.
local function granted(scope, row)
  scope.g = scope.g or cmsgpack.unpack(redis.call('HGET', scope.key, 'g') or cmsgpack.pack({}))
  local found = scope.g[row[1] .. ' ' .. row[2]]
  if not found or found[1] ~= scope.s[1 + row[2]] then return 0, true end
  return found[2], found[3] <= now
end

-- Of the rows that amounts {usd, ms, characters, requests} would break the one that stands longest in the way:
-- {measure (5: in flight), window, limit, used, asked, milliseconds to wait (-1: for ever), missing in this shard's
-- grant (0: nothing), id of the window}, or nil.
-- Rates are not asked again (`rates` false) for a request that has passed them.
local function broken(scope, amounts, rates)
  local s, rows, worst = scope.s, rows_of(scope), nil
  if rows[1] > 0 and s[1] >= rows[1] then worst = {5, 0, rows[1], s[1], 1, 1000, 0, 0} end
  for i = 2, #rows do
    local row = rows[i]
    local measure, window, limit = row[1], row[2], row[3]
    local over, used, wait, missing = false, 0, 0, 0
    if row[4] then
      local every, burst, full = rate(scope, row)
      used, wait = math.ceil((full - now_us) / every), math.ceil((full + every - burst - now_us) / 1000)
      over = rates and wait > 0
      if rates and full < s[30 + window] then  -- kept, or whoever waits as long as told finds it just as empty
        s[30 + window] = full
        save(scope)
      end
    else
      used, wait = s[6 + window * 4 + measure] + s[6 + measure], wait_for(scope.days, window)
      over = used + amounts[measure] > limit
      if row[5] and not over then
        local part, asks = granted(scope, row)
        over = used + amounts[measure] > part
        missing = over and asks and used + amounts[measure] - part or 0
      end
    end
    if over and not (worst and (worst[6] < 0 or (wait >= 0 and wait <= worst[6]))) then
      worst = {measure, window, limit, used, amounts[measure], wait, missing, s[1 + window]}
    end
  end
  return worst
end

local function reserve(scope, amounts, sign)
  local s = scope.s
  s[1] = s[1] + sign
  for measure = 1, 4 do s[6 + measure] = s[6 + measure] + sign * amounts[measure] end
end

-- A request passes the rates of a scope.
local function pass(scope)
  local rows = rows_of(scope)
  for i = 2, #rows do
    local row = rows[i]
    if row[4] then
      local every, _, full = rate(scope, row)
      scope.s[30 + row[2]] = full + every
    end
  end
end

-- The first candidate that key, team and the candidate's own scope have room for, with its scope, or nil and for each
-- candidate the row that stood in the way. `rates`: whether those of key and team are asked. Where one only lacks a
-- part of what there may be more of, this is to be had first.
local function choose(key, team, candidates, rates)
  local denials = {}
  for _, candidate in ipairs(candidates) do
    candidate.scope = load(candidate.key, UTC)
    local row, scope = broken(key, candidate.amounts, rates), 'key'
    if not row then row, scope = broken(team, candidate.amounts, rates), 'team' end
    if not row then row, scope = broken(candidate.scope, candidate.amounts, true), 'upstream' end
    if not row then return candidate end
    if row[7] > 0 then denials = {} end
    denials[#denials + 1] = {scope, candidate.name, unpack(row)}
    if row[7] > 0 then break end
  end
  return nil, denials
end

local function whole(text)
  local number = tonumber(text)
  assert(number and number % 1 == 0 and number >= 0 and number < 2 ^ 53, 'amounts must be whole numbers')
  return number
end

-- {{name, usd, ms, characters}, ...} as `choose` wants it; `prefix` is what the names of all keys begin with.
local function candidates_of(offers, prefix)
  local candidates = {}
  for i, offer in ipairs(offers) do
    candidates[i] = {
      key = prefix .. 'u:' .. offer[1],
      name = offer[1],
      amounts = {whole(offer[2]), whole(offer[3]), whole(offer[4]), 1},
    }
  end
  return candidates
end

-- Charge a scope in its present windows; with `ids`, only in those that still have these.
local function charge(scope, used, sign, ids)
  for window = 1, 5 do
    for measure = 1, 4 do
      local at = 6 + window * 4 + measure
      if not ids or ids[window] == scope.s[1 + window] then scope.s[at] = scope.s[at] + sign * used[measure] end
    end
  end
end

-- The scopes of a request's end: key, team and upstream.
local function three_scopes(key, team, upstream)
  local days = calendar_of(team)
  return {load(key, days), load(team, days), load(upstream, UTC)}
end

-- For scripts that operators' doors run: a line in the audit stream KEYS[1]; ARGV begins with door, action and what.
local function told(result)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', 100000, '*',
    'door', ARGV[1], 'action', ARGV[2], 'what', ARGV[3], 'result', result)
  return result
end
