-- Take an upstream out of use, or back into it. Whoever asks for what is so already changes nothing.
-- KEYS: 1 the audit stream, 2 the upstreams that are out of use (hash: name to "milliseconds since 1970 door")
-- ARGV: 1 door, 2 action, 3 upstream, 4 "out" or "back"
-- Returns "ok"

if ARGV[4] == 'out' then
  if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then
    redis.call('HSET', KEYS[2], ARGV[3], string.format('%.0f %s', now_ms, ARGV[1]))
  end
else
  redis.call('HDEL', KEYS[2], ARGV[3])
end
return told('ok')
