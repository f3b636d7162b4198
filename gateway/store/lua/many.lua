-- Put in front of every script, behind scope.lua: many things in one call, and what they add up to.

-- What the server says when it can serve nobody now.
local UNABLE = {}
for word in string.gmatch('READONLY LOADING BUSY MISCONF CLUSTERDOWN MASTERDOWN NOREPLICAS TRYAGAIN MOVED ASK OOM', '%u+') do
  UNABLE[word] = true
end

-- Do many things, each whole or, if it fails, not at all as long as it reads all it is told before it changes anything.
-- Returns the answer to each: what `one` returns, or {"error", what went wrong}. Where the server can serve nobody that
-- is the answer to all, an error as the server writes it: whoever follows the master has to hear of it.
local function each(items, one)
  local answers = {}
  unsaved = {}
  for i, item in ipairs(items) do
    local done, found = pcall(one, item)
    local text = not done and (type(found) == 'table' and found.err or tostring(found))
    if text and UNABLE[string.match(text, '%u%u+') or ''] then return {err = string.match(text, '%u%u+.*')} end
    answers[i] = done and found or {'error', text}
  end
  save_all()
  return answers
end

-- What usage.py writes of a settlement is read before anything is changed.
local function four(amounts)
  return {whole(amounts[1]), whole(amounts[2]), whole(amounts[3]), whole(amounts[4])}
end

-- The sums as pairs of field and amount: team, key, model, upstream, route and metric make a field.
local function sums_of(item)
  local function clean(part) return (string.gsub(part, '|', '_')) end
  local of, by = table.concat({clean(item.team), clean(item.kid), clean(item.model), ''}, '|'), clean(item.route) .. '|'
  local sums, here = {}, of .. clean(item.upstream) .. '|' .. by
  for _, sum in ipairs(item.sums) do
    if sum[2] ~= 0 then sums[#sums + 1] = {here .. clean(sum[1]), whole(sum[2])} end
  end
  for _, spent in ipairs(item.failed) do
    sums[#sums + 1] = {of .. clean(spent[1]) .. '|' .. by .. 'cost', whole(spent[2])}
  end
  assert(#item.record > 0 and #item.record % 2 == 0, 'a record is fields and values')
  return sums
end

-- Add sums, (field, amount) pairs, to the usage of an hour and a day; `save_sums` writes them.
local added = {}

local function add_sums(sums, sign, hour, day)
  for _, key in ipairs({hour, day}) do
    added[key] = added[key] or {}
    for _, pair in ipairs(sums) do added[key][pair[1]] = (added[key][pair[1]] or 0) + sign * pair[2] end
  end
end

local function save_sums()
  for key, fields in pairs(added) do
    for field, amount in pairs(fields) do redis.call('HINCRBY', key, field, amount) end
  end
end
