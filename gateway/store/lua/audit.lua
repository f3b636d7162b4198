-- Write down that something was read. Changes write their own line.
-- KEYS: 1 the audit stream
-- ARGV: 1 door, 2 action, 3 what, 4 result

told(ARGV[4])
return 'ok'
