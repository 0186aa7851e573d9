// The runner's end of the channel (channel.py is the host's): lines of JSON on stdin and stdout.
//
// From the host: "R" + a run request, "T" + a message for the running snippet. To the host: every line is stamped with the
// nonce of its execution, which no snippet knows; a newline goes first, in case something else wrote half a line.

export const PROTOCOL = 1;

const NEWLINE = 10;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Return a function that takes chunks of bytes and calls `onLine(kind, text)` for every complete line that is not empty.
 *
 * @param {(kind: string, text: string) => void} onLine gets a line's first character, and the rest
 * @param {() => number} most bytes that a line may have
 * @param {() => void} onOverflow called for a longer one
 */
export function lineReader(onLine, most = () => Infinity, onOverflow = undefined) {
  let parts = [];
  let held = 0;
  return function read(chunk) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end));
      const line = join(parts);
      parts = [];
      held = 0;
      start = end + 1;
      if (line !== "") onLine(line[0], line.slice(1));
    }
    if (start < chunk.length) {
      parts.push(chunk.slice(start));
      held += chunk.length - start;
      if (held > most()) {
        parts = [];
        held = 0;
        onOverflow();
      }
    }
  };
}

function join(parts) {
  if (parts.length === 1) return decoder.decode(parts[0]);
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return decoder.decode(whole);
}

/**
 * Return a function that writes one stamped message. It blocks until the host has taken it, which is the back-pressure on a flood
 * of messages.
 *
 * @param {(bytes: Uint8Array) => number} writeSome writes some of the bytes to stdout and returns how many
 */
export function frameWriter(writeSome) {
  return function write(nonce, text) {
    let bytes = encoder.encode(`\n${nonce} ${text}\n`);
    while (bytes.length > 0) bytes = bytes.subarray(writeSome(bytes));
  };
}

/** The first message: the runner can take requests, and runs on these versions. */
export function readyMessage(versions, settings = undefined) {
  return JSON.stringify({ op: "ready", protocol: PROTOCOL, versions, settings });
}
