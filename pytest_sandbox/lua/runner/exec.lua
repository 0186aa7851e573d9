-- The module "exec": executors, processes and streams. Every call returns a value, or nil and an error object.
--
-- Objects are empty tables; which number the host knows them by is kept here. The host decides everything: what is checked here
-- only saves it the asking.

local raw, values, host, new_error = ...
local type, format, pack, math_type, next = raw.type, raw.string.format, raw.string.pack, raw.math.type, raw.next
local DROP = "\x92\xa4drop\xce" -- and the number of the executor, as four bytes
local setmetatable, decode, request = raw.setmetatable, values.decode, values.message

local weak = { __mode = "k" }
local numbers = setmetatable({}, weak)
local metatable_of = raw.debug.getmetatable -- which sees through __metatable

-- What an object of ours is, in words; nothing for other tables.
function values.name_of(value)
  if numbers[value] then
    local name = metatable_of(value).__name
    return (name == "executor" and "an " or "a ") .. name
  end
end

local function object(number, metatable)
  local made = setmetatable({}, metatable)
  numbers[made] = number
  return made
end

local function invalid(message)
  return nil, new_error("INVALID", message)
end

-- Ask the host. Its answer is true and a value, or false, kind, message and whether it may be retried.
local function ask(request)
  local data = host.call(request)
  if raw.string.byte(data, 2) == 0xc3 then
    return decode(data, 3), nil
  end
  local answer = decode(data)
  return nil, new_error(answer[2], answer[3], answer[4])
end

-- Return the number of an object, or nil and words about what is wrong.
local function number_of(metatable, self, method)
  local number = type(self) == "table" and numbers[self]
  if number and metatable_of(self) == metatable then
    return number
  end
  local kind = metatable.__name
  return nil, format("Cannot call %s: it is not called on %s %s; call it with a colon, as in %s:%s(...)",
    method, kind == "executor" and "an" or "a", kind, kind, method)
end

local function shown(value)
  return type(value) == "string" and format("%q", raw.string.sub(value, 1, 100)) or type(value)
end

-- Streams ------------------------------------------------------------------------------------------------------

local stream_methods = {}
local stream_metatable = { __index = stream_methods, __name = "stream", __metatable = "stream" }

-- With n, up to n bytes as soon as there are any; without, everything until the end; nil at the end.
function stream_methods.read(self, n)
  local number, problem = number_of(stream_metatable, self, "read")
  if not number then
    return invalid(problem)
  end
  if n ~= nil then
    n = math_type(n) == "integer" and n or raw.math.tointeger(n)
    if not n or n < 1 then
      return invalid("Cannot read: expected a whole number of bytes that is at least 1, or nothing for all until the end")
    end
  end
  return ask(request("read", number, n))
end

function stream_methods.close(self)
  local number, problem = number_of(stream_metatable, self, "close")
  if not number then
    return invalid(problem)
  end
  return ask(request("close_stream", number))
end

-- Processes ----------------------------------------------------------------------------------------------------

local process_methods = {}
local process_metatable = { __index = process_methods, __name = "process", __metatable = "process" }
local streams = setmetatable({}, weak)

function process_methods.start(self)
  local number, problem = number_of(process_metatable, self, "start")
  if not number then
    return invalid(problem)
  end
  return ask(request("start", number))
end

function process_methods.wait(self)
  local number, problem = number_of(process_metatable, self, "wait")
  if not number then
    return invalid(problem)
  end
  return ask(request("wait", number))
end

function process_methods.signal(self, n)
  local number, problem = number_of(process_metatable, self, "signal")
  if not number then
    return invalid(problem)
  end
  local signal = math_type(n) and raw.math.tointeger(n)
  if not signal then
    return invalid(format("Cannot send a signal: expected its number, such as 15, got %s", shown(n)))
  end
  return ask(request("signal", number, signal))
end

function process_methods.write_stdin(self, data)
  local number, problem = number_of(process_metatable, self, "write_stdin")
  if not number then
    return invalid(problem)
  end
  if type(data) ~= "string" then
    return invalid(format("Cannot write to stdin: expected a string, got %s", shown(data)))
  end
  return ask(request("write_stdin", number, data))
end

local function stream(self, name, method)
  local number, problem = number_of(process_metatable, self, method)
  if not number then
    return invalid(problem)
  end
  local answer, err = ask(request("stream", number, name))
  if err then
    return nil, err
  end
  local known = streams[self]
  if not known[name] then
    known[name] = object(answer, stream_metatable)
  end
  return known[name], nil
end

function process_methods.stdout_stream(self)
  return stream(self, "stdout", "stdout_stream")
end

function process_methods.stderr_stream(self)
  return stream(self, "stderr", "stderr_stream")
end

function process_methods.close(self, force)
  local number, problem = number_of(process_metatable, self, "close")
  if not number then
    return invalid(problem)
  end
  return ask(request("close", number, force and true or false))
end

-- Executors ----------------------------------------------------------------------------------------------------

local executor_methods = {}
local executor_metatable = { __index = executor_methods, __name = "executor", __metatable = "executor" }
local used = setmetatable({}, weak) -- executors that have created a process
local released = setmetatable({}, weak)
local last, last_id -- the number of an executor that was released unused, and the id of its entry: it can be given out again
local ids = setmetatable({}, weak)

local OPTIONS = { work_dir = true, env = true }

-- Return the options, or nil and words about what is wrong.
local function check_options(options)
  if options == nil then
    return { names = {}, variables = {} }
  elseif type(options) ~= "table" then
    return nil, format("expected a table with work_dir or env as options, got %s", shown(options))
  end
  for name in next, options do
    if not OPTIONS[name] then
      return nil, format("unknown option %s; known options are work_dir and env", shown(name))
    end
  end
  local work_dir, env = raw.rawget(options, "work_dir"), raw.rawget(options, "env")
  if work_dir ~= nil and type(work_dir) ~= "string" then
    return nil, format("expected a path as work_dir, got %s", shown(work_dir))
  elseif env ~= nil and type(env) ~= "table" then
    return nil, format("expected a table of variables as env, got %s", shown(env))
  end
  local names, variables = {}, {}
  for name, value in next, env or {} do
    if type(name) ~= "string" or (type(value) ~= "string" and type(value) ~= "number") then
      return nil, format("expected strings as names and values of env, got %s = %s", shown(name), shown(value))
    end
    names[#names + 1], variables[#variables + 1] = name, raw.tostring(value)
  end
  return { work_dir = work_dir, names = names, variables = variables }
end

local function forget_last()
  if last then
    host.post(DROP .. pack(">I4", last))
    last = nil
  end
end

function executor_methods.exec(self, cmd, options)
  local number, problem = number_of(executor_metatable, self, "exec")
  if not number then
    return invalid(problem)
  end
  if type(cmd) ~= "string" then
    return invalid(format("Cannot run a command: expected a string, got %s", shown(cmd)))
  end
  if released[self] then
    return invalid(format("Cannot run command %s: its executor is released; get a new one", shown(cmd)))
  end
  local checked, wrong = check_options(options)
  if not checked then
    return invalid(format("Cannot run command %s: %s", shown(cmd), wrong))
  end
  local answer, err = ask(request("exec", number, cmd, checked.work_dir, checked.names, checked.variables))
  if err then
    return nil, err
  end
  used[self] = true
  local made = object(answer, process_metatable)
  streams[made] = {}
  return made, nil
end

function executor_methods.release(self)
  local number, problem = number_of(executor_metatable, self, "release")
  if not number then
    return invalid(problem)
  end
  if released[self] then
    return true, nil
  end
  released[self] = true
  if used[self] then
    return ask(request("release", number))
  end
  -- Nothing runs there: the host need not be told before it is asked for something else.
  forget_last()
  if host.may_keep() then
    last, last_id = number, ids[self]
  else
    host.post(DROP .. pack(">I4", number))
  end
  return true, nil
end

local exec = {}

function exec.get(id)
  if type(id) ~= "string" then
    return invalid(format("Cannot get an executor: expected the id of an entry, such as \"app:shell\", got %s", shown(id)))
  end
  local number, err
  if last and last_id == id then
    number, last = last, nil
  else
    forget_last()
    number, err = ask(request("get", id))
    if err then
      return nil, err
    end
  end
  local made = object(number, executor_metatable)
  ids[made] = id
  return made, nil
end

return exec
