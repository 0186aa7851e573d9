// The runner's end of the channel (channel.py is the host's): lines of JSON on stdin and stdout.
//
// From the host: "R" + a run request, "T" + a message for the running snippet. To the host: every line is stamped with the
// nonce of its execution, which no snippet knows; a newline goes first, in case something else wrote half a line.

export const PROTOCOL = 1;

const NEWLINE = 10;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Return a function that takes chunks of bytes and calls `onLine(bytes)` for every complete line that is not empty.
 *
 * @param {(bytes: Uint8Array) => void} onLine
 * @param {() => number} most bytes that a line may have
 * @param {() => void} onOverflow called for a longer one
 */
export function byteLines(onLine, most = () => Infinity, onOverflow = undefined) {
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
      if (line.length > 0) onLine(line);
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
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The same for text: `onLine(kind, text)` gets a line's first character, and the rest. */
export function lineReader(onLine) {
  return byteLines((bytes) => {
    const line = decoder.decode(bytes);
    onLine(line[0], line.slice(1));
  });
}

/**
 * Return a function that writes one stamped message. It blocks until the host has taken it, which is the back-pressure on a flood
 * of messages.
 *
 * @param {(bytes: Uint8Array) => number} writeSome writes some of the bytes to stdout and returns how many
 * @returns {(nonce: string, message: string | Uint8Array) => void}
 */
export function frameWriter(writeSome) {
  function writeAll(bytes) {
    while (bytes.length > 0) bytes = bytes.subarray(writeSome(bytes));
  }
  return function write(nonce, message) {
    if (typeof message === "string") {
      writeAll(encoder.encode(`\n${nonce} ${message}\n`));
      return;
    }
    for (const part of [encoder.encode(`\n${nonce} `), message, encoder.encode("\n")]) writeAll(part);
  };
}

/** The first message: the runner can take requests, and runs on these versions. */
export function readyMessage(versions, settings = undefined) {
  return JSON.stringify({ op: "ready", protocol: PROTOCOL, versions, settings });
}
