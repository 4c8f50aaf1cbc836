-- What all scripts share. It stands before each of them: one script is one atomic step on the keys of one channel.
--
-- record    hash   state, epoch, schema, counts: see `register`
-- stream    stream each value that is not acknowledged: id n-0, field v; its one consumer group is `importers`
-- members   zset   who is bound, by when the lease ends (ms); who has left, for an hour
-- about     hash   what is known of each member: role, exporter, settles, lease in ms, adopted. The role is p of a
--                  producer, c of a consumer, l of a producer that is lost, x of one that has left
-- produced  hash   how many values each producer has added
-- hungry    zset   consumers that wait for values, who holds the fewest first
-- waiting   set    producers that wait for room, or importers that wait for an export
-- watching  hash   who waits until all values up to a number are acknowledged
-- back      hash   how many times a value has come back and counts
local record, stream, members, about, produced, hungry, waiting, watching, back = unpack(KEYS)
local dead_record, dead_stream, dead_hungry = KEYS[10], KEYS[11], KEYS[12]
local group = 'importers'
local returned = '~'  -- holds what came back, and is dealt first
local DAY, HOUR = 86400000, 3600000  -- ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local inbox = string.match(record, '^(.-):{') .. ':inbox:'

-- Who listens to the member's inbox looks again. How many do: of a cluster, only those on this node are counted.
local function wake(member)
    return redis.call('PUBLISH', inbox .. string.match(member, '^[^.]*'), member)
end

local function wake_all()
    for _, member in ipairs(redis.call('HKEYS', about)) do wake(member) end
end

local function wake_hungry(key, count)
    while count > 0 do
        local member = redis.call('ZPOPMIN', key)[1]
        if not member then return end
        if wake(member) > 0 then count = count - 1 end
    end
end

local function wake_waiting()
    for _, member in ipairs(redis.call('SMEMBERS', waiting)) do wake(member) end
    redis.call('DEL', waiting)
end

local function number(key, field)
    return tonumber(redis.call('HGET', key, field) or 0)
end

local function know(member)
    local known = redis.call('HGET', about, member)
    if not known then return nil end
    local role, exporter, settles, lease, adopted = string.match(known, '^(.)(.)(.):(%d+):(.)$')
    return {role = role, exporter = exporter == '1', settles = settles == '1', lease = tonumber(lease), adopted = adopted == '1'}
end

-- Why nothing can be done any more on this incarnation of the channel; nil if it stands.
local function over(epoch)
    local state, current, ended, why = unpack(redis.call('HMGET', record, 'state', 'epoch', 'ended', 'why'))
    if not state then return {'lost'} end
    if current ~= epoch then return ended == epoch and {'end'} or {'closed', 'hung_up', 'it was hung up'} end
    if state == 'open' or state == 'finished' then return nil end
    return {'closed', state, why or ''}
end

local function renew(member, lease)
    redis.call('ZADD', members, now + lease, member)
end

-- The oldest value that is not acknowledged; nil if there is none.
local function oldest()
    local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    return entry and tonumber(string.match(entry[1], '^%d+'))
end

-- Values have left the stream: whoever waits for that looks again.
local function after_leaving()
    local left = redis.call('XLEN', stream)
    if redis.call('SCARD', waiting) > 0 then
        local most = number(record, 'max_backlog')
        if left == 0 or most - left >= most / 4 then wake_waiting() end
    end
    if redis.call('HLEN', watching) > 0 then
        local first = oldest()
        local watchers = redis.call('HGETALL', watching)
        for i = 1, #watchers, 2 do
            if not first or first > tonumber(watchers[i + 1]) then
                redis.call('HDEL', watching, watchers[i])
                wake(watchers[i])
            end
        end
    end
    if left == 0 and redis.call('HGET', record, 'state') == 'finished' then
        wake_all()
        for _, key in ipairs({record, stream, members, about, produced}) do redis.call('PEXPIRE', key, DAY) end
    end
end

-- A value came back too often.
local function bury(id)
    local entry = redis.call('XRANGE', stream, id, id)[1]
    redis.call('XACK', stream, group, id)
    redis.call('XDEL', stream, id)
    redis.call('HDEL', back, id)
    if entry and redis.call('HGET', record, 'dead_letters') == '1' then
        redis.call('HINCRBY', record, 'buried', 1)
        redis.call('XADD', dead_stream, redis.call('HINCRBY', dead_record, 'last', 1), 'v', entry[2][2])
        wake_hungry(dead_hungry, 1)
    elseif entry then
        redis.call('HINCRBY', record, 'dropped', 1)
    end
end

-- A value is nobody's again, and is dealt first. `counted`: at most so many times.
local function hand_back(id, counted)
    if counted and redis.call('HINCRBY', back, id, 1) > number(record, 'max_redeliveries') then
        bury(id)
    else
        redis.call('XCLAIM', stream, group, returned, 0, id, 'JUSTID')
    end
end

-- All that a consumer holds is nobody's again.
local function hand_back_all(member, counted)
    local count = 0
    while true do
        local pending = redis.call('XPENDING', stream, group, '-', '+', 1000, member)
        for _, entry in ipairs(pending) do hand_back(entry[1], counted) end
        count = count + #pending
        if #pending < 1000 then break end
    end
    redis.call('XGROUP', 'DELCONSUMER', stream, group, member)
    if count > 0 then
        wake_hungry(hungry, count)
        after_leaving()
    end
end

local function forget(member)
    redis.call('ZREM', members, member)
    redis.call('HDEL', about, member)
    redis.call('ZREM', hungry, member)
    redis.call('SREM', waiting, member)
end

local function remember(member, role, exporter, settles, lease, adopted)
    local flags = role .. (exporter and '1' or '0') .. (settles and '1' or '0')
    redis.call('HSET', about, member, flags .. ':' .. lease .. ':' .. (adopted and '1' or '0'))
    redis.call('ZADD', members, now + lease, member)
end

-- Members whose lease is over are lost: what they held is nobody's, their share waits for the next to adopt it.
-- `contact`: for how long, in ms, the caller has been in touch with the engine without a break; `lease`: the caller's, of
-- which it says something every third. After a break, which all may have had, also one in which the engine was stopped,
-- every member first has its whole lease to renew it.
local function sweep(contact, lease)
    local seen, resumed = unpack(redis.call('HMGET', record, 'seen', 'resumed'))
    if now - (seen or now) > lease * 0.6 then
        resumed = now
        redis.call('HSET', record, 'resumed', now)
    end
    redis.call('HSET', record, 'seen', now)
    contact = math.min(contact, now - (resumed or 0))
    for _, member in ipairs(redis.call('ZRANGE', members, '-inf', now, 'BYSCORE', 'LIMIT', 0, 64)) do
        local known = know(member)
        if not known then
            redis.call('ZREM', members, member)
        elseif known.role == 'x' or known.role == 'l' then
            forget(member)
            redis.call('HDEL', produced, member)
        elseif known.lease <= contact then
            forget(member)
            if known.role == 'c' then
                hand_back_all(member, known.settles)
            else
                remember(member, 'l', false, false, DAY, false)  -- it may come back, and say again what it has said
                redis.call('HINCRBY', record, 'held', -1)
                redis.call('HINCRBY', record, 'orphans', 1)
            end
        end
    end
end

-- A producer gets a share: one that a lost producer has left, or a new one. Whether it adopted one.
local function take_share()
    redis.call('HINCRBY', record, 'held', 1)
    if number(record, 'orphans') > 0 then
        redis.call('HINCRBY', record, 'orphans', -1)
        return true
    end
    redis.call('HINCRBY', record, 'counted', 1)
    return false
end

-- The channel has come to an end for all. How many values are dropped.
local function close(state, why)
    local dropped = redis.call('XLEN', stream)
    redis.call('HSET', record, 'state', state, 'why', why)
    redis.call('HINCRBY', record, 'dropped', dropped)
    redis.call('PEXPIRE', record, DAY)
    wake_all()
    wake_waiting()
    for _, watcher in ipairs(redis.call('HKEYS', watching)) do wake(watcher) end
    redis.call('DEL', stream, members, about, produced, hungry, watching, back)
    return dropped
end
