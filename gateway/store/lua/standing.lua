-- How the limits of scopes stand now. Nothing is written.
-- KEYS: scopes
-- Returns {now in ms since 1970, rows of the first scope, rows of the second, ...}
--         row = {measure (5: in flight), window, limit, used, reserved, ms to reset (-1: never)}

local found = {now_ms}
for i, key in ipairs(KEYS) do
  local s, rows, standing = load(key), rows_of(key), {}
  if rows[1] > 0 then standing[1] = {5, 0, rows[1], s[1], 0, -1} end
  for j = 2, #rows do
    local measure, window, limit = rows[j][1], rows[j][2], rows[j][3]
    standing[#standing + 1] = {measure, window, limit, s[6 + window * 4 + measure], s[6 + measure], wait_for(window)}
  end
  found[i + 1] = standing
end
return found
