// Plain Node or Deno: runs attacks as they are, with nothing in their way. It is the control runner of audits, and what an audit puts
// in the place of a runner, inside its jail, to see what an escape from the realm would meet. No executor's name leads here.
//
// One line of JSON in for each message, lines that begin with "@" out. It is as trusting as it looks: anything that writes such a line
// is believed, any tool name is passed on, and everything runs in one global scope. That is what the controls need.

import { writeSync } from "node:fs";
import { createRequire } from "node:module";

globalThis.require ??= createRequire(import.meta.url);
const AsyncFunction = (async () => {}).constructor;
const decoder = new TextDecoder();
const encoder = new TextEncoder();
const waiting = new Map();
let calls = 0;
let held = "";

function say(message) {
  let bytes = encoder.encode(`@${JSON.stringify(message)}\n`);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function call(name, args) {
  calls += 1;
  say({ op: "call", call: calls, name, args });
  return new Promise((resolve, reject) => waiting.set(calls, { resolve, reject }));
}

// A bridge that trusts everybody: any name is a tool, known or not, and can be replaced.
function toolsOf(names) {
  const tools = Object.fromEntries(names.map((name) => [name, (...args) => call(name, args)]));
  return new Proxy(tools, { get: (known, name) => known[name] ?? (typeof name === "string" ? (...args) => call(name, args) : undefined) });
}

const plainConsole = { ...console };
for (const level of ["log", "info", "warn", "error", "debug"]) {
  plainConsole[level] = (...values) => say({ op: "log", text: values.map(String).join(" ") });
}

async function run({ id, code, tools }) {
  try {
    globalThis.codemode = toolsOf(tools);
    const value = await new AsyncFunction("console", code)(plainConsole);
    say({ op: "result", id, value: value === undefined ? null : value });
  } catch (error) {
    say({ op: "error", id, name: String(error?.name), message: String(error?.message ?? error) });
  }
}

function take(line) {
  const message = JSON.parse(line);
  if (message.op === "run") {
    run(message);
  } else {
    const { resolve, reject } = waiting.get(message.call);
    if (message.error === undefined) resolve(message.value);
    else reject(new Error(message.error));
  }
}

// What nobody catches is the affair of whatever runs: it asks for it, and the process goes on.
let uncaught = [];
globalThis.nextUncaught = () => new Promise((resolve) => uncaught.push(resolve));
function tellUncaught(error) {
  const waiting = uncaught;
  uncaught = [];
  waiting.forEach((resolve) => resolve(error));
}
process.on("unhandledRejection", tellUncaught);
process.on("uncaughtException", tellUncaught);
globalThis.addEventListener?.("unhandledrejection", (event) => {
  event.preventDefault();
  tellUncaught(event.reason);
});
globalThis.addEventListener?.("error", (event) => {
  event.preventDefault();
  tellUncaught(event.error);
});
process.stdin.on("data", (chunk) => {
  const lines = (held + decoder.decode(chunk, { stream: true })).split("\n");
  held = lines.pop();
  lines.forEach(take);
});
process.stdin.on("end", () => process.exit(0));
say({ op: "ready", pid: process.pid });
