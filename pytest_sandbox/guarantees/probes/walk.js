// Walk over everything in reach by own properties, accessors and prototypes; try every function as a maker of code.
const text = TEXT_OF_CODE;
let found;
let count = 0;
const seen = new Set();
const queue = [globalThis, codemode, console, async () => {}, function* () {}, async function* () {}, [].values(), "a".matchAll(/a/g), new Map().keys(),
  new Set().keys(), ""[Symbol.iterator](), [].values().map((x) => x), (function () { return arguments; })(), /(?<a>a)/d.exec("a"), Promise.resolve(),
  new Error("x"), new Date(), new ArrayBuffer(1), new Uint8Array(1), new Intl.NumberFormat(), new Intl.Segmenter("en").segment("a"), Symbol.iterator, 1n];
for (const make of [() => new URL("http://a/"), () => new TextEncoder(), () => codemode.echo(1), () => import("node:nowhere"), () => null.x, () => decodeURI("%")]) {
  try { const one = make(); one?.catch?.(() => {}); queue.push(one); } catch (error) { queue.push(error); }
}
const use = (made) => {
  if (typeof made !== "function") return undefined;
  const result = made();
  return typeof result === "object" && result !== null && typeof result.next === "function" ? result.next().value : result;
};
const isSafe = (name) => !/^(exit|reallyExit|abort|kill|_kill|dlopen|execve|chdir|setuid|seteuid|setgid|setegid|setgroups|initgroups|alert|confirm|prompt|close|gc|runInThisContext|process\.binding|openStdin|spawn|require|loadEnvFile)$/.test(name);
while (queue.length > 0 && found === undefined && count < 20000) {
  const value = queue.pop();
  if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) continue;
  seen.add(value);
  count += 1;
  if (typeof value === "function" && /Function$/.test(value.name) && isSafe(value.name)) {
    for (const make of [() => value(text), () => Reflect.construct(value, [text]), () => new (class extends value {})(text)]) {
      try {
        const result = await use(make());
        found ??= (typeof result === "object" && result !== null ? (await result?.next?.())?.value : result) ?? undefined;
      } catch {}
    }
  }
  let keys = [];
  try { keys = Reflect.ownKeys(value); } catch {}
  for (const key of keys) {
    let descriptor;
    try { descriptor = Reflect.getOwnPropertyDescriptor(value, key); } catch {}
    if (descriptor) queue.push(descriptor.value, descriptor.get, descriptor.set);
  }
  try { queue.push(Reflect.getPrototypeOf(value), value.constructor); } catch {}
}
if (found === undefined && count < 500) throw new Error(`the walk met only ${count} objects`);
/*DONE*/
