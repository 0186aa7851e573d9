// The cost of a fresh, unhardened isolate inside Node: create, context, 1 + 1, dispose. Prints the median in milliseconds.
import { createRequire } from "node:module";

const ivm = createRequire(`${process.argv[2]}/`)("isolated-vm");
const durations = [];
for (let i = 0; i < 300; i++) {
  const started = performance.now();
  const isolate = new ivm.Isolate({ memoryLimit: 256 });
  const context = isolate.createContextSync();
  isolate.compileScriptSync("1 + 1").runSync(context);
  isolate.dispose();
  durations.push(performance.now() - started);
}
durations.sort((a, b) => a - b);
process.stdout.write(String(durations[150]), () => process.exit(0));
