// Makes every comparison true, every number its own, and every promise, too, if it can.
const attempts = [
  () => (Array.prototype.sort = () => ["tampered"]),
  () => (Number.prototype.valueOf = () => 2),
  () => (JSON.stringify = () => '"tampered"'),
  () => (Promise.prototype.then = (resolve) => resolve("tampered")),
  () => Object.defineProperty(Object.prototype, "toJSON", { value: () => "tampered" }),
  () => Object.setPrototypeOf(Array.prototype, new Proxy({}, { get: () => "tampered" })),
  () => (Object.is = () => true),
  () => (codemode.input = () => ["tampered"]),
  () => (globalThis.codemode = { input: () => ["tampered"] }),
];
for (const attempt of attempts) {
  try {
    attempt();
  } catch {
    // the next one, then
  }
}
return "tampered";
