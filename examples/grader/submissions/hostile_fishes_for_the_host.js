// Looks for a way out, and returns what it found.
const catches = [];
async function fish(name, attempt) {
  try {
    const found = await attempt();
    if (found !== undefined) catches.push(name);
  } catch {
    // nothing there
  }
}
await fish("require", () => require);
await fish("module", () => module);
await fish("process", () => process);
await fish("Deno", () => Deno);
await fish("fetch", () => fetch);
await fish("Worker", () => Worker);
await fish("WebAssembly", () => WebAssembly);
await fish("node:fs", () => import("node:fs"));
await fish("data:", () => import("data:text/javascript,export default 1"));
await fish("eval", () => eval("1"));
await fish("Function", () => Function("return 1")());
await fish("constructor of a tool", () => codemode.input.constructor("return 1")());
await fish("constructor of an error", () => codemode.expected().catch((error) => error.constructor.constructor("return 1")()));
await fish("the expected answer", () => codemode.expected());
return catches;
