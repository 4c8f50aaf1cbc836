#!lua
-- A producer adds values, each once, however often it says so. ARGV: epoch, member, lease, contact; the number of the
-- first value among the producer's, from 1; the values. The answer: how many of the producer's are in the stream, or were.
local member, lease, contact, first = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local why = over(ARGV[1])
if why then return why end
local known = know(member)
if not known or known.role ~= 'p' then  -- it was lost, and is back
    remember(member, 'p', false, false, lease, take_share())
end
renew(member, lease)
sweep(contact, lease)
local done = number(produced, member)
if first > done + 1 then return {'forgotten', done} end
local count = #ARGV - 5
local skip = math.min(done + 1 - first, count)
local state, last, most, largest = unpack(redis.call('HMGET', record, 'state', 'last', 'max_backlog', 'largest'))
last, most, largest = tonumber(last), tonumber(most), tonumber(largest)
local added = math.min(count - skip, math.max(0, most - redis.call('XLEN', stream)))
local longest = largest
for i = 1, added do
    local value = ARGV[5 + skip + i]
    redis.call('XADD', stream, last + i, 'v', value)
    if #value > longest then longest = #value end
end
if added > 0 then
    redis.call('HSET', record, 'last', last + added, 'largest', longest)
    redis.call('HSET', produced, member, done + added)
    wake_hungry(hungry, added)
end
if added < count - skip then redis.call('SADD', waiting, member) end
return {'ok', done + added, last + added}
