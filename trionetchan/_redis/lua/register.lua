#!lua
-- A member is bound. ARGV: the epoch that it has seen; a new one if it may make the channel, else ''; the member; its
-- role (p or c); whether it is an exporter's; whether it settles; its lease (ms); its contact (ms); the record's fields.
local seen, new, member, role = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local exporter, settles, lease, contact = ARGV[5] == '1', ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local state, epoch = unpack(redis.call('HMGET', record, 'state', 'epoch'))
if know(member) then return {'ok', epoch, number(record, 'last'), number(record, 'dropped')} end
if (epoch or '') ~= seen then return {'again'} end
local stands = state == 'open' or state == 'finished'
if new ~= '' and (not stands or (state == 'finished' and redis.call('XLEN', stream) == 0)) then
    wake_all()
    wake_waiting()
    for _, watcher in ipairs(redis.call('HKEYS', watching)) do wake(watcher) end
    redis.call('DEL', record, stream, members, about, produced, hungry, watching, back)
    redis.call('HSET', record, 'state', 'open', 'epoch', new, unpack(ARGV, 9))
    if state == 'finished' then redis.call('HSET', record, 'ended', epoch) end
    redis.call('XGROUP', 'CREATE', stream, group, 0, 'MKSTREAM')
    epoch = new
elseif not stands then
    return {'again'}
elseif new ~= '' and role == 'p' then
    redis.call('HSET', record, 'state', 'open')
end
sweep(contact, lease)
local adopted = role == 'p' and take_share()
remember(member, role, exporter, settles, lease, adopted)
if role == 'c' then redis.call('XGROUP', 'CREATECONSUMER', stream, group, member) end
for i = 9, #ARGV, 2 do
    if ARGV[i] == 'dead_letters' and ARGV[i + 1] == '1' then redis.call('HSET', record, 'dead_letters', 1) end
end
return {'ok', epoch, number(record, 'last'), number(record, 'dropped')}
