#!lua flags=allow-oom
-- The name is taken away, for all. ARGV: epoch. How many values are dropped.
local why = over(ARGV[1])
if why then return why end
return {'ok', close('hung_up', 'it was hung up')}
