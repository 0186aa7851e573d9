// What process 1 of a container does (container.mjs begins it): it speaks with the host, and has a child process run every snippet.
//
// Nothing inside can read, trace or end this process: its program cannot be read (so it is not dumpable), its inspector signal is
// off, and process 1 takes no signal that it does not handle. What a child says is stamped with a secret of that child, checked
// here, and stamped anew for the host.

import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { byteLines } from "./channel.mjs";
import { memoryKills, readSettings } from "./container_settings.mjs";
import { listen, sayReady, write } from "./node_host.mjs";

const OUTPUT_FACTOR = 16; // as in realm/basics.js
const UNLIMITED = 256 << 20; // bytes
const LAST_WORDS = 4096; // characters
const GONE_WITHIN = 500; // milliseconds
const ZOMBIES_GONE_WITHIN = 20; // milliseconds, for those that Node itself waits for
const REQUEST = "R".charCodeAt(0);
const HELLO = "H".charCodeAt(0);
const NEWLINE = Buffer.from("\n");
const BOOTED = Buffer.from("booted ");
const HELLO_TEXT = '{"source":"return 1","language":"js"}';
const MESSAGE_REGEXP = /^\{"op":"(log|call|result|error)"/;
const OUT_OF_MEMORY_REGEXP = /heap out of memory|Fatal JavaScript (?:out of memory|invalid size)|Allocation failed/;

let spawnChild;
let isUsedAgain; // else the host removes the container after its one execution
let child;
let execution;

/** Return 32 hexadecimal digits from the kernel; node:crypto would take longer to load than all the rest of this program. */
function randomText() {
  const bytes = Buffer.alloc(16);
  const source = openSync("/dev/urandom", "r");
  if (readSync(source, bytes) !== bytes.length) throw new Error("/dev/urandom has given too little");
  closeSync(source);
  return bytes.toString("hex");
}

function startChild(process_ = spawnChild()) {
  const secret = randomText();
  const started = { process: process_, secret, words: "", heard: false, isBooted: false, onBoot() {} };
  const read = byteLines(
    (line) => fromChild(started, Buffer.from(line.buffer, line.byteOffset, line.length)),
    () => execution?.lineMost ?? 65536,
    () => started === child && crash("a message that is larger than any legal one"),
  );
  process_.stdio[4].on("data", (chunk) => {
    started.heard = true;
    read(chunk);
  });
  process_.stdio[3].on("error", () => {}); // it died: its exit tells
  for (const [stream, level] of [[process_.stdout, "log"], [process_.stderr, "error"]]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      started.heard = true;
      if (started === child) print(level, text);
    });
  }
  process_.on("error", () => {});
  process_.on("exit", (code, signal) => childEnded(started, code, signal));
  process_.stdio[3].write(`H${HELLO_TEXT}\n`);
  return started;
}

/** Wait until what a child wrote before its last message has been read, too. */
async function drained(of) {
  do {
    of.heard = false;
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  } while (of.heard);
}

function fromChild(from, line) {
  if (!from.isBooted && line.equals(BOOTED)) {
    // It says so before it has a snippet; afterwards, this is a message without a stamp like any other.
    from.isBooted = true;
    from.onBoot();
    return;
  }
  if (from !== child || execution === undefined) return;
  const stamp = `${child.secret} `;
  if (line.toString("latin1", 0, stamp.length) !== stamp) {
    crash("a message without its stamp");
    return;
  }
  // Only the beginning is looked at: the host reads the rest, and takes nothing on trust either.
  const message = line.subarray(stamp.length);
  const [, op] = MESSAGE_REGEXP.exec(message.toString("latin1", 0, 16)) ?? [];
  if (op === undefined) crash("a message that is none");
  else if (op === "result" || op === "error") finish(message);
  else write(execution.nonce, message);
}

function crash(what) {
  fail({ kind: "crash", name: "ProtocolViolation", message: `the snippet's process sent ${what}` });
}

function fail(error) {
  finish(JSON.stringify({ op: "error", error }));
}

/** Report the end once; everything that the snippet started ends first, where this container is used again. */
async function finish(message) {
  if (execution === undefined || execution.isOver) return;
  execution.isOver = true;
  const { nonce } = execution;
  const last = child;
  await drained(last);
  flushLines();
  execution = undefined;
  child = undefined;
  if (isUsedAgain) {
    // Before the host hears of the end, for the next request may follow at once.
    if (await endAllOthers()) child = startChild();
    else write(nonce, '{"op":"retire"}');
  }
  write(nonce, message);
}

function childEnded(ended, code, signal) {
  if (ended !== child || execution === undefined || execution.isOver) {
    if (ended === child && execution === undefined) child = startChild(); // it died idle
    return;
  }
  drained(ended).then(() => {
    if (execution === undefined || execution.isOver) return;
    if (OUT_OF_MEMORY_REGEXP.test(ended.words) || (signal === "SIGKILL" && memoryKills() > execution.killsBefore)) {
      fail({ kind: "memory", limit: "memory", name: "OutOfMemory", message: "the snippet's process ran out of memory" });
    } else {
      const how = signal === null ? `with exit code ${code}` : `by signal ${signal}`;
      fail({ kind: "crash", name: "RunnerCrashed", message: `the snippet's process ended without a result, ${how}` });
    }
  });
}

/**
 * Kill everything but this process. Return whether nothing is left: a zombie that is nobody's child, or what cannot be killed, stays,
 * and the container has had its day.
 */
async function endAllOthers() {
  try {
    process.kill(-1, "SIGKILL");
  } catch {
    // nobody is there
  }
  for (let waited = 0; waited < GONE_WITHIN; waited += 2) {
    const states = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== "1").map(stateOf);
    if (states.length === 0) return true;
    if (waited > ZOMBIES_GONE_WITHIN && states.every((state) => state === "Z" || state === undefined)) return false;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return false;
}

function stateOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").pop()[0];
  } catch {
    return undefined;
  }
}

// -- what a snippet prints past console: lines become log entries, under the same limit ------------------------------------

const lines = { log: "", error: "" };

function print(level, text) {
  child.words = (child.words + text).slice(-LAST_WORDS);
  if (execution === undefined || execution.isOver) return;
  const parts = (lines[level] + text).split("\n");
  lines[level] = parts.pop().slice(0, execution.output);
  for (const part of parts) log(level, part);
}

function flushLines() {
  for (const level of ["log", "error"]) {
    if (lines[level] !== "") log(level, lines[level]);
    lines[level] = "";
  }
}

function log(level, text) {
  const room = execution.output - execution.printed;
  execution.printed += text.length + 1;
  if (room > 0) {
    write(execution.nonce, JSON.stringify({ op: "log", level, text: text.slice(0, room).toWellFormed(), cut: text.length > room }));
  } else if (execution.printed > execution.output * OUTPUT_FACTOR && !execution.isOver) {
    fail({ kind: "output", limit: "output", name: "LimitExceeded", message: `it wrote more than ${OUTPUT_FACTOR} times the limit output` });
  }
}

// -- the host ------------------------------------------------------------------------------------------------------------------

const greeted = Promise.withResolvers();

// What is done for the first time takes Node milliseconds: so the host's hello comes the way that a request will come, and the child
// answers its own only when it has prepared a snippet.
function fromHost(line) {
  if (line[0] === HELLO) {
    JSON.parse(Buffer.from(line.buffer, line.byteOffset + 1, line.length - 1).toString());
    greeted.resolve();
    return;
  }
  if (line[0] !== REQUEST) {
    child?.process.stdio[3].write(Buffer.concat([line, NEWLINE]));
    return;
  }
  const request = JSON.parse(Buffer.from(line.buffer, line.byteOffset + 1, line.length - 1).toString());
  const { nonce, output, result } = request;
  execution = {
    nonce,
    output: output ?? UNLIMITED,
    lineMost: Math.max(3 * (result ?? UNLIMITED), 6 * (output ?? UNLIMITED)) + 65536,
    printed: 0,
    isOver: false,
    killsBefore: memoryKills(),
  };
  child ??= startChild();
  child.process.stdio[3].write(`R${JSON.stringify({ ...request, nonce: child.secret })}\n`);
}

/**
 * Serve the host until it is gone.
 *
 * @param {ChildProcess} first a child that has just been started
 * @param {() => ChildProcess} spawn starts another one
 * @param {boolean} again whether this container serves more than one execution
 */
export function serve(first, spawn, again) {
  spawnChild = spawn;
  isUsedAgain = again;
  child = startChild(first);
  listen(fromHost, byteLines);
  const booted = new Promise((resolve) => (child.onBoot = resolve));
  const settings = readSettings(); // while the child boots
  memoryKills();
  Promise.all([greeted.promise, booted]).then(() => sayReady({}, settings));
}
