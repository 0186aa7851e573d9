// The program of executor "container": process 1 of a container, which runs every snippet in a child process (container_child.mjs).
//
// Nothing but this is loaded before the first child is on its way: the two then load at the same time.

import { spawn } from "node:child_process";

const [mode, heapMegabytes, use] = process.argv.slice(2);
const flags = ["--disable-sigusr1", "--disable-warning=ExperimentalWarning", `--max-old-space-size=${heapMegabytes}`];
// A stack that overflows while Node formats it throws an error of the main realm, whose Function would be the way to all of Node.
if (mode === "hardened") flags.push("--disallow-code-generation-from-strings");
const command = [...flags, new URL("./container_child.mjs", import.meta.url).pathname, mode];

function spawnChild() {
  const stdio = ["ignore", "pipe", "pipe", "pipe", "pipe"];
  return spawn(process.execPath, command, { stdio, env: { ...process.env }, detached: true });
}

const first = spawnChild();
const { serve } = await import("./container_parent.mjs");
serve(first, spawnChild, use === "again");
