#!lua flags=allow-oom
-- A member leaves. ARGV: epoch, member, lease; how: a producer's share is `released`, `orphaned` or `withdrawn`; of a
-- consumer `left`, or `gone`, if its program takes nothing more: with the last exporter that does the channel is over.
local member, how = ARGV[2], ARGV[4]
local why = over(ARGV[1])
if why then return why end
local known = know(member)
if known and known.role == 'x' then return {'ok'} end  -- it is said again
local lost = not known or known.role == 'l'
if lost and how ~= 'released' then return {'ok'} end
forget(member)
remember(member, 'x', false, false, HOUR, false)
if known and known.role == 'c' then
    hand_back_all(member, known.settles)
    if how == 'gone' and known.exporter then
        for _, other in ipairs(redis.call('HKEYS', about)) do
            local their = know(other)
            if their.role == 'c' and their.exporter then return {'ok'} end
        end
        close('gone', 'the receiver is gone')
    end
    return {'ok'}
end
if lost then take_share() end
redis.call('HDEL', produced, member)
redis.call('HINCRBY', record, 'held', -1)
if how == 'orphaned' or (how == 'withdrawn' and known.adopted) then
    redis.call('HINCRBY', record, 'orphans', 1)
elseif how == 'withdrawn' then
    redis.call('HINCRBY', record, 'counted', -1)
end
local expected = number(record, 'expected')
if how == 'released' and expected > 0 and number(record, 'counted') >= expected
        and number(record, 'held') <= 0 and number(record, 'orphans') <= 0 then
    redis.call('HSET', record, 'state', 'finished')
    after_leaving()
end
return {'ok'}
