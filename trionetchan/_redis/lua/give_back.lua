#!lua flags=allow-oom
-- A consumer gives values back. ARGV: epoch, member, whether that counts; pairs of first, count.
local why = over(ARGV[1])
if why then return why end
local count = 0
for i = 4, #ARGV, 2 do
    for id = tonumber(ARGV[i]), ARGV[i] + ARGV[i + 1] - 1 do
        if #redis.call('XPENDING', stream, group, id, id, 1, ARGV[2]) > 0 then
            hand_back(string.format('%d-0', id), ARGV[3] == '1')
            count = count + 1
        end
    end
end
if count > 0 then
    wake_hungry(hungry, count)
    after_leaving()
end
return {'ok'}
