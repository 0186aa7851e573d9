-- What a script finds, and how it is run. Loaded once in each process, before anything of a stranger is.
--
-- No object of Python is within a script's reach: the functions of the host are upvalues of the functions below, they take
-- and return nothing but strings and integers, and there is no debug library to look at upvalues with.

local functions, sources = ...
local raw = {}
for _, name in ipairs({
  "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
  "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall",
}) do
  raw[name] = _G[name]
end
-- Copies: a script can change the tables that it finds.
for _, name in ipairs({ "coroutine", "math", "string", "table", "utf8", "os", "debug" }) do
  raw[name] = {}
  for key, value in pairs(_G[name]) do
    raw[name][key] = value
  end
end

local type, tostring, error, pcall, format = raw.type, raw.tostring, raw.error, raw.pcall, raw.string.format
local sub, find, pack, concat = raw.string.sub, raw.string.find, raw.string.pack, raw.table.concat
local OURS = "=(sandbox)"

local function load_ours(name, ...)
  return raw.assert(raw.load(sources[name], OURS, "t"))(...)
end

-- The host -----------------------------------------------------------------------------------------------------

local host = {}
local limit -- bytes that Lua may use, or nil
local RESERVE = 65536 -- bytes of a small answer and what it takes to read it; on top of the limit, Lua has four times as much

-- Make sure that so many bytes are free, for where Python hands them to Lua a lack of memory cannot be reported.
local function make_room(bytes)
  if limit and raw.collectgarbage("count") * 1024 + bytes > limit then
    raw.collectgarbage()
    if raw.collectgarbage("count") * 1024 + bytes > limit then
      error("not enough memory", 0)
    end
  end
end

local waiting = "" -- messages without an answer, which go out with the next one that has one

local function framed(message)
  local data = waiting .. pack(">s4", message)
  waiting = ""
  return data
end

-- Send a message and return the answer.
function host.call(message)
  make_room(0)
  local ok, answer = pcall(functions.call, framed(message))
  if ok and type(answer) == "number" then -- a large answer, which waits for its room
    make_room(2 * answer + RESERVE)
    ok, answer = pcall(functions.take)
  end
  if not ok or type(answer) ~= "string" then -- what else an error might be is of no interest, and may not be seen
    error("the host does not answer", 0)
  end
  return answer
end

-- Send a message that has no answer.
function host.send(message)
  pcall(functions.send, framed(message))
end

-- Send a message that has no answer, together with the next one.
function host.post(message)
  waiting = waiting .. pack(">s4", message)
  if #waiting > 4096 then
    pcall(functions.send, waiting)
    waiting = ""
  end
end

local keeps

-- Whether the host would give the same executor again: not where a function decides, or where calls are counted.
function host.may_keep()
  return keeps
end

-- The environment ----------------------------------------------------------------------------------------------

local KEEP = {
  _G = { "_VERSION", "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
    "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall", "coroutine", "math", "string", "table", "utf8",
    "os" },
  os = { "clock", "date", "difftime", "time" },
  string = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack", "packsize", "rep", "reverse",
    "sub", "unpack", "upper" },
}

-- What is not listed goes, so that nothing stays that a later Lua or lupa brings along.
local function strip(library, names)
  local kept = {}
  for _, name in raw.ipairs(names) do
    kept[name] = true
  end
  for name in raw.pairs(library) do
    if not kept[name] then
      library[name] = nil
    end
  end
end

local G = _G
for name in raw.pairs(G.package.loaded) do
  G.package.loaded[name] = nil
end
for _, name in raw.ipairs({ "os", "string", "_G" }) do
  strip(name == "_G" and G or G[name], KEEP[name])
end
G._G = G
raw.getmetatable("").__metatable = "string" -- out of reach: the arithmetic of strings is looked up there

-- Describe what was raised, whatever it is.
function raw.describe(value)
  if type(value) == "string" then
    return value
  end
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or format("(an error object of type %s that cannot be shown)", type(value))
end

-- Leave frames of our own out of a traceback.
function raw.trim(trace)
  local lines, was_ours = {}, false
  for line in raw.string.gmatch(trace, "[^\n]+") do
    local is_ours = find(line, "(sandbox):", 1, true) or find(line, "[C]: in field 'xpcall'", 1, true) or find(line, "[C]: in ?", 1, true)
    was_ours = is_ours or (was_ours and find(line, "(...tail calls...)", 1, true))
    if not was_ours then
      lines[#lines + 1] = line
    end
  end
  return concat(lines, "\n")
end

local values = load_ours("values", raw)
local errors, new_error, facts = load_ours("errors", raw, values)
local exec = load_ours("exec", raw, values, host, new_error)
local modules, loaded, loading = {}, { exec = exec, errors = errors }, {}
G.errors = errors

-- load without binary chunks, which can break the interpreter.
function G.load(chunk, name, mode, ...)
  if mode ~= nil and mode ~= "t" and mode ~= "bt" then
    return nil, format("attempt to load a chunk of mode %s: only text (mode \"t\") can be loaded", raw.describe(mode))
  end
  return raw.load(chunk, name == nil and type(chunk) == "string" and chunk or name, "t", ...)
end

-- Only what says how much memory is in use, or frees it.
function G.collectgarbage(option)
  if option ~= nil and option ~= "collect" and option ~= "count" and option ~= "step" then
    error(format("bad argument #1 to 'collectgarbage' (only \"collect\", \"count\" and \"step\" are here, got %s)", raw.describe(option)), 2)
  end
  return raw.collectgarbage(option)
end

function G.require(name)
  if type(name) ~= "string" then
    error(format("bad argument #1 to 'require' (string expected, got %s)", type(name)), 2)
  elseif loaded[name] ~= nil then
    return loaded[name]
  elseif loading[name] then
    error(format("module '%s' requires itself", name), 2)
  end
  local module = modules[name]
  if module == nil then
    local known = {}
    for key in raw.next, modules do
      known[#known + 1] = key
    end
    for key in raw.next, loaded do
      if modules[key] == nil then
        known[#known + 1] = key
      end
    end
    raw.table.sort(known)
    error(format("module '%s' not found: known modules are %s", name, concat(known, ", ")), 2)
  end
  local result = module.value
  if module.source then
    local chunk, problem = raw.load(module.source, "@" .. module.chunk, "t")
    if not chunk then
      error(format("error loading module '%s': %s", name, problem), 2)
    end
    loading[name] = true
    result = chunk(name)
    loading[name] = nil
  end
  loaded[name] = result == nil and true or result
  return loaded[name]
end

local output, written = nil, 0 -- the limit output and what was printed, in bytes

function G.print(...)
  local texts = {}
  for index = 1, raw.select("#", ...) do
    texts[index] = tostring((raw.select(index, ...)))
  end
  local text = concat(texts, "\t")
  written = written + #text + 1
  if output and #text > output then
    text = sub(text, 1, output)
  end
  host.send(values.message("log", text, written))
end

-- A function of the host, known by its number; it returns what that returned, or nil and an error object.
function values.make_function(number)
  return function(...)
    local ok, message = pcall(values.encode, { ... }, raw.select("#", ...), limit, "args")
    if not ok then
      if type(message) ~= "table" then
        error(message, 0)
      end
      return nil, new_error("INVALID", format("Cannot call the function: %s %s", message.path, message.message))
    end
    local answer = values.decode(host.call("\x93\xa4call" .. raw.string.pack(">BI4", 0xce, number) .. message))
    if answer[1] then
      return raw.table.unpack(answer[2], 1, answer[3])
    end
    return nil, new_error(answer[2], answer[3], answer[4])
  end
end

-- Running ------------------------------------------------------------------------------------------------------

local REPORT_ROOM = 8 * 1024 * 1024 -- bytes that are added to the limit when the script has failed, perhaps for lack of them

-- Take note of an error where it is raised.
local function handler(object)
  local found = type(object) == "table" and facts[object]
  return {
    message = sub(found and found.message or raw.describe(object), 1, 65536),
    kind = found and found.kind or nil,
    retryable = found and found.retryable,
    traceback = raw.trim(raw.debug.traceback("", 2)),
  }
end

local function report(kind, problem, returned)
  if limit then
    functions.arm(limit + REPORT_ROOM)
  end
  if type(problem) ~= "table" then -- a lack of memory, or an error in the handler, comes without it
    problem = { message = raw.describe(problem) }
  end
  host.send(values.message(
    "error", kind, problem.message, problem.kind, problem.retryable, problem.traceback, returned or false
  ))
end

-- Run a function; return its results as a table with n, or nothing, when the end has been told.
local function run(call, ...)
  local results = raw.table.pack(raw.xpcall(call, handler, ...))
  if results[1] then
    return raw.table.move(results, 2, results.n, 1, { n = results.n - 1 })
  end
  report("runtime", results[2])
end

local function describe_methods(module)
  local names = {}
  for name, value in raw.next, module do
    if type(name) == "string" and type(value) == "function" then
      names[#names + 1] = name
    end
  end
  raw.table.sort(names)
  return #names > 0 and concat(names, ", ") or "none"
end

-- Return the function of a name in the table that the chunk returned, or nothing, when the end has been told.
local function find_method(request, module)
  local kind = type(module)
  local found = kind == "table" and raw.rawget(module, request.method)
  if type(found) == "function" then
    return found
  end
  local what = kind == "table" and "has the functions " .. describe_methods(module) or "is " .. (kind == "nil" and "nothing" or "a " .. kind)
  report("runtime", {
    message = format("Cannot call method \"%s\": expected a table with that function, and what %s returned %s",
      request.method, request.chunk, what),
    traceback = "",
  })
end

local function finish(request, results)
  local failure = results[1] == nil and results[2]
  if type(failure) == "string" or (type(failure) == "table" and facts[failure]) then
    local found = facts[failure]
    report("runtime", {
      message = sub(found and found.message or failure, 1, 65536),
      kind = found and found.kind or nil,
      retryable = found and found.retryable,
      traceback = found and found.stack or "",
    }, true)
    return
  end
  local ok, encoded = pcall(values.encode, results, results.n, request.result)
  if not ok and type(encoded) == "table" then
    local message = format("Cannot return %s: it %s", encoded.path, encoded.message)
    report(encoded.over and "limit" or "runtime", { message = message, traceback = "" })
  elseif not ok then
    report("runtime", encoded)
  else
    host.send("\x92\xa6result" .. encoded)
  end
end

-- The functions of the returned table whose names begin as asked, with their lines.
local function list(request, module)
  local found = {}
  for name, value in raw.next, type(module) == "table" and module or {} do
    if type(name) == "string" and type(value) == "function" and sub(name, 1, #request.list) == request.list then
      local info = raw.debug.getinfo(value, "S")
      found[#found + 1] = { name, info.source == "@" .. request.chunk and info.linedefined or 0 }
    end
  end
  host.send("\x92\xa6result" .. values.encode({ type(module), found }, 2))
end

return function(message)
  local request = values.decode(message)
  message = nil
  modules, output, keeps = request.modules, request.output, request.keeps
  limit = functions.arm(request.memory or 0) and request.memory or nil
  local chunk, problem = raw.load(request.source, "@" .. request.chunk, "t")
  if not chunk then
    return report("syntax", { message = problem, traceback = "" })
  end
  request.source = nil
  local results = run(chunk, raw.table.unpack(request.method and {} or request.args, 1, request.method and 0 or request.count))
  if results and request.list then
    return list(request, results[1])
  end
  if results and request.method then
    local method = find_method(request, results[1])
    results = method and run(method, raw.table.unpack(request.args, 1, request.count))
  end
  if results then
    finish(request, results)
  end
end
