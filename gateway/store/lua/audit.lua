-- Write down that something was read. Changes write their own line.
-- KEYS: 1 the audit stream
-- ARGV: 1 door, 2 action, 3 what, 4 result

redis.call('XADD', KEYS[1], 'MAXLEN', '~', 100000, '*',
  'door', ARGV[1], 'action', ARGV[2], 'what', ARGV[3], 'result', ARGV[4])
return 'ok'
