-- Let go of records that are old enough, and count those that are left. One step of it: ask again while there is more.
-- KEYS: 1 the stream of records, 2 what is exported, 3 that somebody was warned
-- ARGV: 1 milliseconds that a record is kept, -1: for ever, 2 "exported" (nothing that is not) or "always" (by age),
--       3 from how many records on to warn, 4 seconds between warnings, 5 records to count and 6 to let go in one step
-- Returns {records, of these not exported, 1 if there is more to do, 1 if it is time to warn}
-- What is exported is a hash: `cursor` (commit.lua), `counted` (up to here the exported records are counted), `behind`
-- (so many of them are still here), `gone` (the last record that was let go).

local length, more = redis.call('XLEN', KEYS[1]), 0
local cursor, counted, behind = unpack(redis.call('HMGET', KEYS[2], 'cursor', 'counted', 'behind'))
counted, behind = counted or '0-0', tonumber(behind or 0)

if cursor and cursor ~= counted then
  local found = redis.call('XRANGE', KEYS[1], '(' .. counted, cursor, 'COUNT', ARGV[5])
  behind = behind + #found
  more = #found == tonumber(ARGV[5]) and 1 or 0
  counted = more == 1 and found[#found][1] or cursor
  redis.call('HSET', KEYS[2], 'counted', counted, 'behind', behind)
end

local function place(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

-- Everything before `bound` goes.
local ms, number = 0, 0
if tonumber(ARGV[1]) >= 0 then ms = math.max(0, now_ms - tonumber(ARGV[1])) end
if ARGV[2] == 'exported' then
  local last_ms, last_number = place(counted)
  if ms > last_ms then ms, number = last_ms, last_number + 1 end
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local first_ms, first_number
if first then first_ms, first_number = place(first[1]) end
if first and (first_ms < ms or (first_ms == ms and first_number < number)) then
  local bound = string.format('%.0f-%.0f', ms, number)
  -- Only now: where nothing stands before the bound, the server would look through the whole stream.
  redis.call('HSET', KEYS[2], 'gone', redis.call('XREVRANGE', KEYS[1], '(' .. bound, '-', 'COUNT', 1)[1][1])
  local went = redis.call('XTRIM', KEYS[1], 'MINID', '~', bound, 'LIMIT', ARGV[6])
  if went > 0 then
    more = 1
  else
    went = redis.call('XTRIM', KEYS[1], 'MINID', bound)
  end
  length, behind = length - went, math.max(0, behind - went)
  redis.call('HSET', KEYS[2], 'behind', behind)
end

local warn = 0
if more == 0 and length >= tonumber(ARGV[3]) and redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[4]) then warn = 1 end
return {length, length - behind, more, warn}
