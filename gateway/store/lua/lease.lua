-- Grant a shard a part of an upstream's quotas. What was granted counts as used here, so that all shards together never
-- get more than there is; what a shard does not use of it is lost with the window.
-- KEYS: 1 scope of the upstream that all shards draw from
-- ARGV: 1 in how many parts what is left is divided, then for each quota: measure, window, id of the window it is for,
--       amount that is needed at least
-- Returns for each quota what is granted; 0 where not enough is left, or where another window has begun here

local scope, found = load(KEYS[1], UTC), {}
local parts = whole(ARGV[1])
for i = 2, #ARGV, 4 do
  local measure, window, id, need = whole(ARGV[i]), whole(ARGV[i + 1]), whole(ARGV[i + 2]), whole(ARGV[i + 3])
  local at, amount = 6 + window * 4 + measure, 0
  for j = 2, #rows_of(scope) do
    local row = rows_of(scope)[j]
    local left = row[3] - scope.s[at]
    if row[1] == measure and row[2] == window and id == scope.s[1 + window] and left >= need then
      amount = math.max(need, math.floor(left / parts))
    end
  end
  scope.s[at] = scope.s[at] + amount
  found[#found + 1] = amount
end
save(scope)
return found
