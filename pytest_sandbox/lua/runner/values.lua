-- Values to MessagePack and back. Between this process and the host nothing but such bytes crosses.
--
-- A script can change what it reaches (string.pack, the metatable of strings, ...). What is used here was taken before it ran, and
-- its tables are read raw, so that none of its metamethods run.

local raw = ...
local type, next, rawlen, rawget = raw.type, raw.next, raw.rawlen, raw.rawget
local math_type, format, pack, unpack_bytes = raw.math.type, raw.string.format, raw.string.pack, raw.string.unpack
local sub, byte, concat, utf8_len = raw.string.sub, raw.string.byte, raw.table.concat, raw.utf8.len

local MAX_DEPTH = 100 -- tables in tables; msgspec, on the host, has a limit as well

local values = {}

-- Whoever makes objects says what they are: extension_of returns an object that can cross, encoded; name_of names one that cannot.
function values.extension_of(_) end
function values.name_of(_) end

local function fail(out, message)
  raw.error({ path = concat(out.path, "", 1, out.depth), message = message, over = out.over })
end

local function step(key)
  if math_type(key) == "integer" then
    return format("[%d]", key)
  end
  return "." .. sub(key, 1, 60)
end

local function emit(out, text)
  out.size = out.size + #text
  if out.most and out.size > out.most then
    out.over = true
    fail(out, format("has more than %d bytes so far, and the limit result is %d bytes", out.size, out.most))
  end
  local n = out.n + 1
  out.n, out[n] = n, text
end

local function put_string(out, text)
  local n = #text
  if out.is_raw then
    emit(out, n < 256 and pack("Bs1", 0xc4, text) or pack(">Bs4", 0xc6, text))
  elseif utf8_len(text) then
    if n < 32 then
      emit(out, pack("B", 0xa0 + n) .. text)
    else
      emit(out, pack(">Bs4", 0xdb, text))
    end
  else
    emit(out, pack(">Bs4", 0xc6, text))
  end
end

local put

-- A table is a sequence if its keys are 1 to n: then it is an array, otherwise a map.
local function sequence_length(out, value)
  local count, most, all = 0, 0, true
  for key in next, value do
    count = count + 1
    if math_type(key) ~= "integer" or key < 1 then
      all = false
    elseif key > most then
      most = key
    end
  end
  return all and most == count, count
end

local function put_key(out, key)
  local kind = type(key)
  if kind == "string" then
    put_string(out, key)
  elseif kind == "number" then
    put(out, key)
  else
    fail(out, format("has a key of type %s; only strings and numbers can be keys", kind))
  end
end

local function put_table(out, value)
  local extension = values.extension_of(value)
  if extension then
    emit(out, extension)
    return
  end
  local name = values.name_of(value)
  if name then
    fail(out, format("is %s, which cannot leave the sandbox", name))
  end
  if out.seen[value] then
    fail(out, "contains itself")
  end
  if out.depth >= MAX_DEPTH then
    fail(out, format("is nested more than %d levels deep", MAX_DEPTH))
  end
  out.seen[value] = true
  local is_sequence, count = sequence_length(out, value)
  emit(out, pack(">BI4", is_sequence and 0xdd or 0xdf, count))
  local depth = out.depth + 1
  if is_sequence then
    for index = 1, count do
      out.path[depth], out.depth = step(index), depth
      put(out, rawget(value, index))
      out.depth = depth - 1
    end
  else
    for key, item in next, value do
      put_key(out, key)
      out.path[depth], out.depth = step(key), depth
      put(out, item)
      out.depth = depth - 1
    end
  end
  out.seen[value] = nil
end

function put(out, value)
  local kind = type(value)
  if kind == "string" then
    put_string(out, value)
  elseif kind == "number" then
    if math_type(value) == "integer" then
      if value >= 0 and value < 128 then
        emit(out, pack("B", value))
      else
        emit(out, pack(">Bi8", 0xd3, value))
      end
    else
      emit(out, pack(">Bd", 0xcb, value))
    end
  elseif kind == "nil" then
    emit(out, "\xc0")
  elseif kind == "boolean" then
    emit(out, value and "\xc3" or "\xc2")
  elseif kind == "table" then
    put_table(out, value)
  else
    fail(out, format("is a %s, which cannot leave the sandbox", kind))
  end
end

local function new_out(most)
  return { n = 0, size = 0, most = most, depth = 0, path = {}, seen = {} }
end

-- Encode n values as one array. Raises a table with path and message for what cannot cross.
-- most: bytes; name: what the values are called in a path.
function values.encode(list, n, most, name)
  local out = new_out(most)
  out.depth = 1
  emit(out, pack(">BI4", 0xdd, n))
  for index = 1, n do
    out.path[1] = n == 1 and not name and "value" or format("%s[%d]", name or "values", index)
    put(out, list[index])
  end
  return concat(out, "", 1, out.n)
end

-- Encode a message of ours: its name, and values whose strings are bytes.
function values.message(name, ...)
  local n = raw.select("#", ...)
  local out = new_out()
  out.is_raw, out.depth = true, 1
  emit(out, pack("BB", 0x91 + n, 0xa0 + #name) .. name)
  for index = 1, n do
    out.path[1] = name
    put(out, (raw.select(index, ...)))
  end
  return concat(out, "", 1, out.n)
end

-- Encode one value of an extension type, such as an error object; its strings are bytes.
function values.extension(number, list, n)
  local out = new_out()
  out.is_raw = true
  for index = 1, n do
    put(out, list[index])
  end
  local body = pack("B", 0x90 + n) .. concat(out, "", 1, out.n)
  return pack(">BI4B", 0xc9, #body, number) .. body
end

-- What host functions become; set by whoever can call the host.
function values.make_function()
  return nil
end

local take

local function take_items(data, at, count)
  local list = {}
  for index = 1, count do
    list[index], at = take(data, at)
  end
  return list, at
end

local function take_pairs(data, at, count)
  local map = {}
  for _ = 1, count do
    local key, item
    key, at = take(data, at)
    item, at = take(data, at)
    map[key] = item
  end
  return map, at
end

local FIXED = { -- by first byte: the format for string.unpack
  [0xcc] = "B", [0xcd] = ">I2", [0xce] = ">I4", [0xcf] = ">i8", [0xd0] = "b", [0xd1] = ">i2", [0xd2] = ">i4", [0xd3] = ">i8",
  [0xca] = ">f", [0xcb] = ">d", [0xd9] = "s1", [0xda] = ">s2", [0xdb] = ">s4", [0xc4] = "s1", [0xc5] = ">s2", [0xc6] = ">s4",
}

function take(data, at)
  local first = byte(data, at)
  if first < 0x80 then
    return first, at + 1
  elseif first < 0x90 then
    return take_pairs(data, at + 1, first - 0x80)
  elseif first < 0xa0 then
    return take_items(data, at + 1, first - 0x90)
  elseif first < 0xc0 then
    return sub(data, at + 1, at + first - 0xa0), at + 1 + first - 0xa0
  elseif first >= 0xe0 then
    return first - 0x100, at + 1
  elseif first == 0xc0 then
    return nil, at + 1
  elseif first == 0xc2 or first == 0xc3 then
    return first == 0xc3, at + 1
  end
  local form = FIXED[first]
  if form then
    return unpack_bytes(form, data, at + 1)
  elseif first == 0xdc then
    return take_items(data, at + 3, (unpack_bytes(">I2", data, at + 1)))
  elseif first == 0xdd then
    return take_items(data, at + 5, (unpack_bytes(">I4", data, at + 1)))
  elseif first == 0xde then
    return take_pairs(data, at + 3, (unpack_bytes(">I2", data, at + 1)))
  elseif first == 0xdf then
    return take_pairs(data, at + 5, (unpack_bytes(">I4", data, at + 1)))
  elseif first == 0xd6 then -- an extension of four bytes: the number of a host function
    return values.make_function((unpack_bytes(">I4", data, at + 2))), at + 6
  end
  raw.error(format("the host sent byte %d, which is not known here", first))
end

-- Decode the value that begins at a byte, 1 when it is left out.
function values.decode(data, at)
  return (take(data, at or 1))
end

return values
