// The runner's end of the channel (channel.py is the host's): lines of JSON on stdin and stdout.
//
// From the host: "R" + a run request, "T" + a message for the running snippet. To the host: every line is stamped with the
// nonce of its execution, which no snippet knows; a newline goes first, in case something else wrote half a line.

import { writeSync } from "node:fs";

export const PROTOCOL = 1;

/** Call `onLine(kind, text)` for every line that the host sends; end the process when the host is gone. */
export function listen(onLine) {
  let parts = [];
  process.stdin.on("data", (chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      const line = parts.length === 1 ? parts[0] : Buffer.concat(parts);
      parts = [];
      start = end + 1;
      onLine(line.toString("latin1", 0, 1), line.toString("utf8", 1));
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  });
  process.stdin.on("end", () => process.exit(0));
}

/** Write one stamped message; blocks until the host has taken it, which is the back-pressure on a flood of messages. */
export function write(nonce, text) {
  const bytes = Buffer.from(`\n${nonce} ${text}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

/** Say that the runner can take requests, and what it runs on. */
export function ready(versions) {
  write("-", JSON.stringify({ op: "ready", protocol: PROTOCOL, versions }));
}
