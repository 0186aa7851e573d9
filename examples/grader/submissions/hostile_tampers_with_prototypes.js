// Makes every comparison true, every number 2 and every promise its own, if it can.
const attempts = [
  () => (Array.prototype.sort = () => [2]),
  () => (Number.prototype.valueOf = () => 2),
  () => (JSON.stringify = () => "2"),
  () => (Promise.prototype.then = (resolve) => resolve(2)),
  () => Object.defineProperty(Object.prototype, "toJSON", { value: () => 2 }),
  () => Object.setPrototypeOf(Array.prototype, new Proxy({}, { get: () => 2 })),
  () => (Object.is = () => true),
  () => (codemode.input = () => [2]),
  () => (globalThis.codemode = { input: () => [2] }),
];
for (const attempt of attempts) {
  try {
    attempt();
  } catch {
    // the next one, then
  }
}
return "tampered";
