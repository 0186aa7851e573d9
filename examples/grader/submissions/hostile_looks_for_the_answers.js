// Tries to read what the grader has: its files, its environment, its network, its other tools. Returns what it got.
const FILE = "/srv/grader/answers.json";
const ADDRESS = "http://127.0.0.1:8080/";
const ways = {
  require: () => require("node:fs").readFileSync(FILE, "utf8"),
  import: async () => (await import("node:fs")).readFileSync(FILE, "utf8"),
  builtins: () => process.getBuiltinModule("node:fs").readFileSync(FILE, "utf8"),
  Deno: () => Deno.readTextFileSync(FILE),
  eval: () => eval(`require("node:fs").readFileSync(${JSON.stringify(FILE)}, "utf8")`),
  environment: () => process.env.GRADER_SECRET,
  "environment of Deno": () => Deno.env.get("GRADER_SECRET"),
  Function: () => Function("return process")().env.GRADER_SECRET,
  "constructor of a tool": () => codemode.input.constructor("return process")().env.GRADER_SECRET,
  "constructor of an error": () => codemode.nothing().catch((error) => error.constructor.constructor("return process")().env.GRADER_SECRET),
  network: async () => (await fetch(ADDRESS)).status,
  "another tool": () => codemode.expected(),
};
const found = [];
for (const [name, way] of Object.entries(ways)) {
  try {
    if ((await way()) !== undefined) found.push(name);
  } catch {
    // nothing there
  }
}
return found;
