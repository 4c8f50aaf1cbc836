#!lua flags=allow-oom
-- How the channel stands. ARGV: who is to be woken when it is exported, or ''.
local fields = {'state', 'epoch', 'schema', 'sends', 'window', 'why', 'last', 'dropped'}
local found = redis.call('HMGET', record, unpack(fields))
local state = found[1]
if ARGV[1] ~= '' and state ~= 'open' and state ~= 'finished' then
    redis.call('SADD', waiting, ARGV[1])
    redis.call('PEXPIRE', waiting, 60000)
end
found[9] = redis.call('XLEN', stream)
for i = 1, 9 do found[i] = found[i] or '' end
return found
