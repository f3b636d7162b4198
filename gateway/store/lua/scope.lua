-- Put in front of every script: the numbers of a scope (a key, a team, an upstream) and its windows.
--
-- A scope is a hash. Its field `s` is a msgpack array of 30 integers:
--   1        requests in flight
--   2 - 6    ids of the current minute, hour, day, month and of the one window that never ends
--   7 - 10   reserved: micro-USD, milliseconds of audio, characters, requests
--   11 - 30  used: for each of the five windows the same four
-- Its field `c` is a msgpack array {most in flight (0: any number), {measure 1-4, window 1-5, limit}, ...}.
-- Reserved amounts have no window: a request is charged to the windows that are current when it is settled.
-- The server's clock is the only one: a gateway whose clock is wrong must not roll a window.

local clock = redis.call('TIME')
local now = tonumber(clock[1])
local now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Days since 1970 to the months since year 0, and back (proleptic Gregorian calendar, years that begin in March).
local function month_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  return (yoe + era * 400) * 12 + mp + 2
end

local function first_day_of(month)
  local shifted = month - 2
  local year = math.floor(shifted / 12)
  local mp = shifted % 12
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * mp + 2) / 5)
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

local month = month_of(math.floor(now / 86400))
local ids = {math.floor(now / 60), math.floor(now / 3600), math.floor(now / 86400), month, 1}
local ends = {(ids[1] + 1) * 60, (ids[2] + 1) * 3600, (ids[3] + 1) * 86400, first_day_of(month + 1) * 86400}

-- Milliseconds until a window starts anew, -1 if it never does.
local function wait_for(window)
  return window == 5 and -1 or ends[window] * 1000 - now_ms
end

local function load(key)
  local packed = redis.call('HGET', key, 's')
  local s = packed and cmsgpack.unpack(packed) or {}
  for i = #s + 1, 30 do s[i] = 0 end
  for window = 1, 5 do
    -- Forward, or back by more than one: a clock set back a little over a boundary must not give a budget anew.
    local was = s[1 + window]
    if ids[window] > was or ids[window] < was - 1 then
      s[1 + window] = ids[window]
      for measure = 1, 4 do s[6 + window * 4 + measure] = 0 end
    end
  end
  return s
end

local function save(key, s)
  redis.call('HSET', key, 's', cmsgpack.pack(s))
end

local function rows_of(key)
  local packed = redis.call('HGET', key, 'c')
  return packed and cmsgpack.unpack(packed) or {0}
end

-- Of the rows that amounts {usd, ms, characters, requests} would break the one that stands longest in the way:
-- {measure (5: in flight), window, limit, used, asked, milliseconds to wait (-1: for ever)}, or nil.
local function broken(s, rows, amounts)
  local worst
  if rows[1] > 0 and s[1] >= rows[1] then worst = {5, 0, rows[1], s[1], 1, 1000} end
  for i = 2, #rows do
    local measure, window, limit = rows[i][1], rows[i][2], rows[i][3]
    local used, wait = s[6 + window * 4 + measure] + s[6 + measure], wait_for(window)
    if used + amounts[measure] > limit and not (worst and (worst[6] < 0 or (wait >= 0 and wait <= worst[6]))) then
      worst = {measure, window, limit, used, amounts[measure], wait}
    end
  end
  return worst
end

local function reserve(s, amounts, sign)
  s[1] = s[1] + sign
  for measure = 1, 4 do s[6 + measure] = s[6 + measure] + sign * amounts[measure] end
end

-- The first candidate that key, team and the candidate's own scope have room for: its number, or nil and for each
-- candidate the row that stood in the way.
local function choose(key, team, candidates)
  local denials = {}
  for i, candidate in ipairs(candidates) do
    local row, scope = broken(key.s, key.rows, candidate.amounts), 'key'
    if not row then row, scope = broken(team.s, team.rows, candidate.amounts), 'team' end
    if not row then row, scope = broken(load(candidate.key), rows_of(candidate.key), candidate.amounts), 'upstream' end
    if not row then return i end
    denials[#denials + 1] = {scope, candidate.name, row[1], row[2], row[3], row[4], row[5], row[6]}
  end
  return nil, denials
end

-- ARGV from `first` on: name, usd, ms, characters for each scope from KEYS[keys_from] on.
local function read_candidates(first, keys_from)
  local candidates = {}
  for i = keys_from, #KEYS do
    local at = first + (i - keys_from) * 4
    candidates[#candidates + 1] = {
      key = KEYS[i],
      name = ARGV[at],
      amounts = {tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), 1},
    }
  end
  return candidates
end

-- Release the amounts that are held (nil: nothing is) on the first three KEYS and charge what was used.
local function account(held, used)
  for i = 1, 3 do
    local s = load(KEYS[i])
    if held then reserve(s, held, -1) end
    for window = 1, 5 do
      for measure = 1, 4 do
        local at = 6 + window * 4 + measure
        s[at] = s[at] + used[measure]
      end
    end
    save(KEYS[i], s)
  end
end

-- Add sums, (field, amount) pairs, to the usage of an hour and a day, which live for so many seconds.
local function add_sums(pairs_of, hour, day, hour_ttl, day_ttl)
  for _, pair in ipairs(pairs_of) do
    redis.call('HINCRBY', hour, pair[1], pair[2])
    redis.call('HINCRBY', day, pair[1], pair[2])
  end
  redis.call('EXPIRE', hour, hour_ttl)
  redis.call('EXPIRE', day, day_ttl)
end

local function whole(text)
  local number = tonumber(text)
  assert(number and number % 1 == 0, 'amounts must be whole numbers')
  return number
end

-- ARGV from `at` on: how many sums follow, then name and amount of each; `prefix` goes in front of the names.
-- Returns the pairs and where the rest of ARGV begins.
local function read_sums(at, prefix)
  local found = {}
  for i = 1, whole(ARGV[at]) do
    found[i] = {prefix .. ARGV[at + 2 * i - 1], whole(ARGV[at + 2 * i])}
  end
  local rest = at + 1 + 2 * #found
  assert(#ARGV > rest, 'the record must not be empty')
  return found, rest
end
