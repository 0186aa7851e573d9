// The cost of a fresh, unhardened vm2 sandbox inside Node: create, 1 + 1. Prints the median in milliseconds.
import { createRequire } from "node:module";

const { VM } = createRequire(`${process.argv[2]}/`)("vm2");
const durations = [];
for (let i = 0; i < 300; i++) {
  const started = performance.now();
  new VM({ eval: false, wasm: false, allowAsync: true, bufferAllocLimit: 32 << 20 }).run("1 + 1");
  durations.push(performance.now() - started);
}
durations.sort((a, b) => a - b);
console.log(durations[150]);
