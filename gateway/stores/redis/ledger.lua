-- The ledger in Redis. One script, four uses: `reserve`, `settle`, `renew`, `stand`; each is one atomic step.
--
-- A tenant's keys share a hash tag, so they lie on one node of a cluster:
--   loupe:{tenant}:w:KEY   a window: hash of spent, held
--   loupe:{tenant}:h:ID    a hold: hash of amount, tokens, requests, windows, state, due, ends
--   loupe:{tenant}:due     holds by the time their lease ends
-- Numbers are doubles in Lua: exact to 2^53, and no amount over that is let in.

local DUE_AT_ONCE = 1000

local function whole(number)  -- tostring would write large ones with an exponent
  return string.format('%.0f', number + 0)  -- and a sum has no minus zero
end

local function share(unit, money, tokens, requests)
  if unit == 'usd' then return money end
  if unit == 'tokens' then return tokens end
  return requests
end

local function finish(hold, state, charge, tokens, kept_ms)
  local found = redis.call('HMGET', hold, 'state', 'amount', 'tokens', 'requests', 'windows', 'due')
  local expired = found[1] == 'expired' and charge ~= nil  -- charged in full; now its real spend is known
  if found[1] ~= 'held' and not expired then return 0 end
  local amount, held_tokens, requests = tonumber(found[2]), tonumber(found[3]), tonumber(found[4])
  if charge == nil then charge, tokens = amount, held_tokens end
  for unit, key in string.gmatch(found[5], '(%l+) ([^\n]+)') do
    redis.call('HINCRBY', key, 'spent', whole(share(unit, charge, tokens, requests)))
    redis.call('HINCRBY', key, expired and 'spent' or 'held', whole(-share(unit, amount, held_tokens, requests)))
  end
  redis.call('HSET', hold, 'state', state, 'charge', whole(charge))
  redis.call('PEXPIRE', hold, kept_ms)
  redis.call('ZREM', found[6], hold)
  return 1
end

local function expire(due, now, kept_ms)
  for _, hold in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, DUE_AT_ONCE)) do
    if finish(hold, 'expired', nil, nil, kept_ms) == 0 then redis.call('ZREM', due, hold) end
  end
end

local function stands(keys, from, count)
  local spent, held = 0, 0
  for index = from, from + count - 1 do
    local found = redis.call('HMGET', keys[index], 'spent', 'held')
    spent, held = spent + tonumber(found[1] or 0), held + tonumber(found[2] or 0)
  end
  return spent, held
end

local function reserve()
  local hold, due = KEYS[1], KEYS[2]
  local now, lease, kept_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
  local ceiling, floor, tokens, requests = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  expire(due, tonumber(ARGV[5]), kept_ms)
  local made = redis.call('HGET', hold, 'amount')
  if made then return {'made', made} end
  local amount, remaining, standing, place = ceiling, nil, {}, 3
  local count = (#ARGV - 9) / 5
  for number = 1, count do
    local base = 9 + (number - 1) * 5
    local unit, limit, soft, parts = ARGV[base + 1], tonumber(ARGV[base + 2]), ARGV[base + 3], tonumber(ARGV[base + 4])
    local spent, held = stands(KEYS, place, parts)
    local left = limit - spent - held
    standing[number] = {place, unit, soft, left, ARGV[base + 5]}
    place = place + parts
    if soft ~= '1' then  -- '0': hard, '2': hard, but apart from what is left of the budget
      if unit == 'usd' then
        if left < floor and ceiling > 0 then return {'refused', number - 1, whole(math.max(left, 0)), whole(held)} end
        amount = math.max(math.min(amount, left), 0)
        if soft == '0' and (remaining == nil or left < remaining) then remaining = left end
      elseif left < share(unit, 0, tokens, requests) then
        return {'refused', number - 1, whole(math.max(left, 0)), whole(held)}
      end
    end
  end
  local lines, exceeded, counted = {}, {}, {}
  for number = 1, count do
    local at, unit, soft, left, kept = unpack(standing[number])
    local claim = share(unit, amount, tokens, requests)
    if soft == '1' and left < claim then exceeded[#exceeded + 1] = number - 1 end
    if not counted[KEYS[at]] then  -- several limits of one window count once
      counted[KEYS[at]] = true
      redis.call('HINCRBY', KEYS[at], 'held', whole(claim))
      if kept ~= '' then redis.call('PEXPIRE', KEYS[at], kept) end
      lines[#lines + 1] = unit .. ' ' .. KEYS[at]
    end
  end
  redis.call('HSET', hold, 'state', 'held', 'amount', whole(amount), 'tokens', whole(tokens),
    'requests', whole(requests), 'windows', table.concat(lines, '\n'), 'due', due, 'ends', now + lease)
  redis.call('ZADD', due, now + lease, hold)
  return {'granted', whole(amount), remaining and whole(remaining - amount) or '', unpack(exceeded)}
end

local function renew()
  local until_at = tonumber(ARGV[2])
  for _, hold in ipairs(KEYS) do
    local found = redis.call('HMGET', hold, 'state', 'due', 'ends')
    if found[1] == 'held' and tonumber(found[3]) < until_at then
      redis.call('ZADD', found[2], until_at, hold)
      redis.call('HSET', hold, 'ends', until_at)
    end
  end
  return {'renewed'}
end

local function stand()
  local answer, place = {'standing'}, 2
  expire(KEYS[1], tonumber(ARGV[2]), ARGV[3])
  for index = 4, #ARGV do
    local spent, held = stands(KEYS, place, tonumber(ARGV[index]))
    place = place + tonumber(ARGV[index])
    answer[#answer + 1], answer[#answer + 2] = whole(spent), whole(held)
  end
  return answer
end

-- With `bar` a hold that was never made cannot be made later: the reservation may still be on its way.
local function settle()
  local hold, kept_ms, bar = KEYS[1], ARGV[4], ARGV[5]
  local done = finish(hold, 'settled', tonumber(ARGV[2]), tonumber(ARGV[3]), kept_ms)
  if done == 0 and bar == '1' and redis.call('EXISTS', hold) == 0 then
    redis.call('HSET', hold, 'state', 'barred', 'amount', 0)
    redis.call('PEXPIRE', hold, kept_ms)
  end
  return {'settled', done}
end

local use = ARGV[1]
if use == 'reserve' then return reserve() end
if use == 'settle' then return settle() end
if use == 'renew' then return renew() end
return stand()
