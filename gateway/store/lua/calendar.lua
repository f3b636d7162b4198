-- Put in front of every script: what time it is, and the windows of a time zone.
--
-- The server's clock is the only one: a gateway whose clock is wrong must not roll a window.
-- A team's field `z` is a JSON array [offset from UTC in seconds, from when on, the next offset, ...]: its time zone;
-- not there, or empty: UTC.

local clock = redis.call('TIME')
local now = tonumber(clock[1])
local now_ms = now * 1000 + math.floor(tonumber(clock[2]) / 1000)
local now_us = now * 1000000 + tonumber(clock[2])

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

local function offset_at(zone, moment)
  local offset = zone[1]
  for i = 2, #zone, 2 do
    if moment < zone[i] then break end
    offset = zone[i + 1]
  end
  return offset
end

-- The first moment of a day of the zone, in seconds since 1970. Where clocks are changed near it, of the two moments
-- that may be it the first that belongs to the day.
local function begins(zone, day)
  local one = day * 86400 - offset_at(zone, day * 86400 - 86400)
  local other = day * 86400 - offset_at(zone, day * 86400 + 86400)
  local early, late = math.min(one, other), math.max(one, other)
  return math.floor((early + offset_at(zone, early)) / 86400) >= day and early or late
end

-- The end of an hour of a zone that is `part` seconds ahead of the hours of UTC; the next one may be ahead otherwise.
local function hour_ends(zone, hour, part)
  local at = (hour + 1) * 3600 - part
  local after = offset_at(zone, at) % 3600
  return math.floor((at + after) / 3600) > hour and at or (hour + 1) * 3600 - after
end

-- The windows of a zone: their ids, and their ends in seconds since 1970. Hours begin where the zone's do.
local function calendar(zone)
  local offset = offset_at(zone, now)
  local day, part = math.floor((now + offset) / 86400), offset % 3600
  local month, hour = month_of(day), math.floor((now + part) / 3600)
  return {
    ids = {math.floor(now / 60), hour, day, month, 1},
    ends = {
      (math.floor(now / 60) + 1) * 60, hour_ends(zone, hour, part), begins(zone, day + 1),
      begins(zone, first_day_of(month + 1)),
    },
  }
end

local UTC = calendar({0})
local calendars = {}

local function calendar_of(team)
  if calendars[team] then return calendars[team] end
  local text, zone = redis.call('HGET', team, 'z'), {}
  calendars[team] = UTC
  if not text or text == '' then return UTC end
  for number in string.gmatch(text, '-?%d+') do  -- not all of it: a quarter of a year ahead is enough
    zone[#zone + 1] = tonumber(number)
    if #zone % 2 == 0 and zone[#zone] > now + 7776000 then break end
  end
  calendars[team] = calendar(zone)
  return calendars[team]
end

-- Milliseconds until a window starts anew, -1 if it never does.
local function wait_for(days, window)
  return window == 5 and -1 or days.ends[window] * 1000 - now_ms
end
