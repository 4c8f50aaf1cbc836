#!lua flags=allow-oom
-- A consumer acknowledges values, renews its lease and gets others. ARGV: epoch, member, lease, contact; how many values
-- it wants, and how many bytes at most (one larger value, if it holds nothing); '1' if it does not know what its last exchange brought; how many pairs of what it
-- acknowledges follow (first, count), those, and then, if it does not know, pairs of what it holds.
-- The answer: for what came back and for what is new: pairs (first, count), how many, and the values, one behind the
-- other; and 1 if it will be woken when there is more, 2 if there is more than it has room for.
local epoch, member, lease, contact = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local want, room, unsure, pairs_acked = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])
local why = over(epoch)
if why then return why end

local function acknowledge(first, count)
    for from = first, first + count - 1, 1000 do
        local ids = {}
        for id = from, math.min(from + 999, first + count - 1) do ids[#ids + 1] = id end
        local acked = redis.call('XACK', stream, group, unpack(ids))
        redis.call('XDEL', stream, unpack(ids))
        redis.call('HINCRBY', record, 'acked', acked)
        if redis.call('EXISTS', back) == 1 then
            for i, id in ipairs(ids) do ids[i] = string.format('%d-0', id) end
            redis.call('HDEL', back, unpack(ids))
        end
    end
end
for i = 9, 8 + 2 * pairs_acked, 2 do acknowledge(tonumber(ARGV[i]), tonumber(ARGV[i + 1])) end
if pairs_acked > 0 then after_leaving() end
if not redis.call('ZSCORE', members, member) then return {'expired'} end
renew(member, lease)
sweep(contact, lease)

local wished = want
local others = redis.call('ZCARD', hungry)
if others > 0 then  -- they wait, too: a fair share, but a run that is worth it
    want = math.min(want, math.max(16, math.floor(redis.call('XLEN', stream) / (others + 1))))
end
local got = 0
local function collection() return {pairs = {}, count = 0, values = {}} end
local again, fresh = collection(), collection()
local function collect(into, entry)
    local id, value, last = tonumber(string.match(entry[1], '^%d+')), entry[2][2], #into.pairs
    if last > 0 and into.pairs[last - 1] + into.pairs[last] == id then
        into.pairs[last] = into.pairs[last] + 1
    else
        into.pairs[last + 1], into.pairs[last + 2] = id, 1
    end
    into.count = into.count + 1
    into.values[into.count] = value
    got, room = got + 1, room - #value
end

if unsure then
    local held = {}
    for i = 9 + 2 * pairs_acked, #ARGV, 2 do
        for id = ARGV[i], ARGV[i] + ARGV[i + 1] - 1 do held[string.format('%d-0', id)] = true end
    end
    for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', 100000, member)) do
        if not held[pending[1]] then
            local entry = redis.call('XRANGE', stream, pending[1], pending[1])[1]
            if entry then collect(pending[4] > 1 and again or fresh, entry) end
        end
    end
end
local alone = #redis.call('XPENDING', stream, group, '-', '+', 1, member) == 0
local full = false
local function has_room(entry)
    full = #entry[2][2] > room and not (alone and got == 0)
    return not full
end
if got < want then
    for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', want - got, returned)) do
        local entry = redis.call('XRANGE', stream, pending[1], pending[1])[1]
        if entry and not has_room(entry) then break end
        redis.call('XCLAIM', stream, group, member, 0, pending[1])
        if entry then
            collect(again, entry)
            redis.call('HINCRBY', record, 'redelivered', 1)
        end
    end
end
local largest, dealt = number(record, 'largest'), number(record, 'dealt')
while got < want and not full do
    local step = math.min(want - got, math.floor(room / largest), 1000)
    if step < 1 then  -- the largest value that there ever was would not fit: the next one may
        local entry = redis.call('XRANGE', stream, '(' .. string.format('%d', dealt), '+', 'COUNT', 1)[1]
        if not entry or not has_room(entry) then break end
        step = 1
    end
    local read = redis.call('XREADGROUP', 'GROUP', group, member, 'COUNT', step, 'STREAMS', stream, '>')
    if not read then break end
    local entries = read[1][2]
    for _, entry in ipairs(entries) do collect(fresh, entry) end
    dealt = tonumber(string.match(entries[#entries][1], '^%d+'))
    if #entries < step then break end
end
if fresh.count > 0 then redis.call('HSET', record, 'dealt', dealt) end
local waits = wished > 0 and got < want and not full
if waits then  -- who holds the fewest is woken first, of these who waits longest
    redis.call('ZADD', hungry, (got - wished) * 1e7 + now % 1e7, member)
else
    redis.call('ZREM', hungry, member)
end
if redis.call('HGET', record, 'state') == 'finished' and redis.call('XLEN', stream) == 0 then return {'end'} end
return {
    'ok', again.pairs, again.count, table.concat(again.values), fresh.pairs, fresh.count, table.concat(fresh.values),
    waits and 1 or full and 2 or 0
}
