-- The module "errors": error objects, which every call of ours returns as its second value.

local raw, values = ...
local type, tostring, rawget, format, sub = raw.type, raw.tostring, raw.rawget, raw.string.format, raw.string.sub
local traceback = raw.debug.traceback

local KINDS = {
  "ALREADY_EXISTS", "CANCELED", "CONFLICT", "INTERNAL", "INVALID", "NOT_FOUND", "PERMISSION_DENIED", "RATE_LIMITED", "TIMEOUT",
  "UNAVAILABLE", "UNKNOWN",
}
local RETRYABLE = { RATE_LIMITED = true, TIMEOUT = true, UNAVAILABLE = true }

-- What an error object says is kept here and not in the object, so that a script cannot change it.
local facts = raw.setmetatable({}, { __mode = "k" })

local methods = {}
local metatable = { __index = methods, __name = "error", __metatable = "error" }

local function of(object)
  local found = type(object) == "table" and facts[object]
  if not found then
    -- Level 3 is who called the method.
    raw.error("this is no error object: call its methods with a colon, such as err:kind()", 3)
  end
  return found
end

for _, name in raw.ipairs({ "kind", "message", "retryable", "details", "stack" }) do
  methods[name] = function(self)
    local found = of(self)
    return found[name]
  end
end

function metatable.__tostring(self)
  local found = of(self)
  return found.kind .. ": " .. found.message
end

function values.extension_of(value)
  local found = facts[value]
  return found and values.extension(1, { found.kind, sub(found.message, 1, 65536), found.retryable }, 3)
end

local function make(kind, message, retryable, details)
  if retryable == nil then
    retryable = RETRYABLE[kind] or false
  end
  local object = raw.setmetatable({}, metatable)
  local stack = raw.trim(traceback(""))
  facts[object] = { kind = kind, message = message, retryable = retryable, details = details, stack = stack }
  return object
end

local errors = {}
for _, kind in raw.ipairs(KINDS) do
  errors[kind] = kind
end

local function text(value, what, level)
  if type(value) == "string" then
    return value
  elseif type(value) == "number" then
    return tostring(value)
  end
  raw.error(format("bad %s of errors.new: expected a string, got %s", what, type(value)), level + 1)
end

-- errors.new(kind, message), errors.new(message), or errors.new{kind=, message=, retryable=, details=}
function errors.new(kind, message)
  if type(kind) == "table" and not facts[kind] then
    local retryable = rawget(kind, "retryable")
    if retryable ~= nil and type(retryable) ~= "boolean" then
      raw.error(format("bad retryable of errors.new: expected a boolean, got %s", type(retryable)), 2)
    end
    local given = rawget(kind, "kind")
    return make(
      given == nil and "UNKNOWN" or text(given, "kind", 2),
      text(rawget(kind, "message"), "message", 2),
      retryable,
      rawget(kind, "details")
    )
  elseif message == nil then
    return make("UNKNOWN", text(kind, "message", 2))
  end
  return make(text(kind, "kind", 2), text(message, "message", 2))
end

-- The same error with words before its message.
function errors.wrap(err, message)
  local found = type(err) == "table" and facts[err]
  message = text(message, "message", 2)
  if not found then
    return make("UNKNOWN", message .. ": " .. raw.describe(err))
  end
  return make(found.kind, message .. ": " .. found.message, found.retryable, found.details)
end

-- Whether a value is an error object of a kind; without a kind, whether it is an error object.
function errors.is(err, kind)
  local found = type(err) == "table" and facts[err]
  return (found and (kind == nil or found.kind == kind)) and true or false
end

return errors, make, facts
