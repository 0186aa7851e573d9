// Errors as they cross: read from whatever a snippet throws, and made from what a tool raised.

// Dress an Error that was made where it should point to as the error that came from the host.
function makeError(error, { name, message, stack, cause }) {
  const hidden = { writable: true, enumerable: false, configurable: true };
  const frames = stack ?? `${error.stack}`.split("\n").slice(1).join("\n");
  defineProperty(error, "name", { ...hidden, value: name });
  defineProperty(error, "message", { ...hidden, value: message });
  defineProperty(error, "stack", { ...hidden, value: stack === undefined ? `${name}: ${message}\n${frames}` : stack });
  if (cause !== undefined) defineProperty(error, "cause", { ...hidden, value: revive(cause) });
  return error;
}

// Read one property of something that was thrown: a getter may throw, lie or loop.
function readText(error, key, fallback) {
  try {
    const value = error[key];
    if (typeof value === "string") return toWellFormed(value.slice(0, TEXT_MOST));
    return value === undefined || isObject(value) ? fallback : toWellFormed(String(value).slice(0, TEXT_MOST));
  } catch {
    return fallback;
  }
}

// Say of anything that was thrown what an Error says of itself.
function describe(error) {
  if (typeof error !== "object" || error === null) return { name: "Error", message: shown(error), stack: "" };
  const message = readText(error, "message", undefined) ?? (isErrorLike(error) ? "" : shown(error));
  return { name: readText(error, "name", "Error"), message, stack: readText(error, "stack", "") };
}

function describeWithCauses(error) {
  const described = describe(error);
  for (let at = error, last = described, depth = 0; depth < CAUSES_MOST; depth++) {
    try {
      at = at.cause;
    } catch {
      break;
    }
    if (at === undefined || at === null) break;
    last = last.cause = describe(at);
  }
  return described;
}

function isErrorLike(value) {
  try {
    return inherits(value, known.Error);
  } catch {
    return false;
  }
}

// Cut a stack to the lines that are the snippet's own.
function snippetFrames(stack) {
  const isForeign = (line) => /^ +at /.test(line) && !/\bsnippet\.[jt]s:\d/.test(line);
  return stack.split("\n").filter((line) => !isForeign(line)).join("\n");
}

// The same, but empty when no line is the snippet's own, as the host has it for what was thrown.
function ownStack(stack) {
  const cut = snippetFrames(stack);
  return /^ +at /m.test(cut) ? cut : "";
}
