-- How the limits of scopes stand now. Nothing is written.
-- KEYS: of each scope its own, then that of its team
-- Returns {now in ms since 1970, rows of the first scope, rows of the second, ...}
--         row = {measure (5: in flight), window, limit, used, reserved, ms to reset (-1: never), burst (0: no rate)}

local found = {now_ms}
for i = 1, #KEYS, 2 do
  local scope, rows = load(KEYS[i], calendar_of(KEYS[i + 1])), {}
  if rows_of(scope)[1] > 0 then rows[1] = {5, 0, rows_of(scope)[1], scope.s[1], 0, -1, 0} end
  for j = 2, #rows_of(scope) do
    local row = rows_of(scope)[j]
    local used, reserved, wait = standing(scope, row)
    rows[#rows + 1] = {row[1], row[2], row[3], used, reserved, wait, row[4] or 0}
  end
  found[#found + 1] = rows
end
return found
