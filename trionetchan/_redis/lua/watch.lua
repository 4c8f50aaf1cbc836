#!lua flags=allow-oom
-- Whether all values up to a number are acknowledged; if not, the watcher is woken then. ARGV: epoch, watcher, the number.
local why = over(ARGV[1])
local dropped = number(record, 'dropped')
if why then return {why[1], dropped} end
local first = oldest()
if not first or first > tonumber(ARGV[3]) then return {'done', dropped} end
redis.call('HSET', watching, ARGV[2], ARGV[3])
return {'wait', dropped}
