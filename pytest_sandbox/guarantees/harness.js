// Around the attacks of one run: a witness before each, and its outcome as plain data. Its parts are put together by probe.py.
const results = [];
const tell = (error) => {
  try {
    return `${error?.name ?? typeof error}: ${error?.message ?? error}`.slice(0, 300);
  } catch {
    return "an error that cannot be told";
  }
};
const attempt = async (id, token, most, body) => {
  // Computed, so that no echo of this text is taken for it.
  console.log(`witness ${id} ${[...token].reverse().join("")}`);
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ at: "pending" }), most);
  });
  const done = (async () => {
    try {
      const value = await body();
      return { at: "returned", value: value === undefined ? null : JSON.parse(JSON.stringify(value)) };
    } catch (error) {
      return { at: "threw", error: tell(error) };
    }
  })();
  const uncaught = typeof nextUncaught === "function" ? nextUncaught().then((error) => ({ at: "threw", error: tell(error) })) : late;
  const outcome = await Promise.race([done, late, uncaught]);
  clearTimeout(timer);
  results.push({ id, ...outcome });
};

// -- ways to the runtime's own objects: an attack takes the first that leads there -------------------------------------------
let lastError = new Error("nothing to try");
const first = (...ways) => {
  for (const way of ways) {
    try {
      const found = way();
      if (found !== undefined && found !== null) return found;
    } catch (error) {
      lastError = error;
    }
  }
  return undefined;
};
const makers = [
  () => Function,
  () => (() => {}).constructor,
  () => console.log.constructor,
  () => setTimeout.constructor,
  () => globalThis.constructor.constructor,
  () => codemode.constructor.constructor,
  () => {
    try {
      null.x;
    } catch (error) {
      return error.constructor.constructor;
    }
  },
];
const conjure = (name) => first(...makers.map((maker) => () => maker()(`return typeof ${name} === "undefined" ? undefined : ${name}`)()));
const theProcess = () => first(() => process, () => globalThis.process, () => conjure("process"));
const theDeno = () => first(() => Deno, () => globalThis.Deno, () => conjure("Deno"));
const theRequire = () => first(() => require, () => globalThis.require, () => conjure("require"), () => theProcess().mainModule.require);
const need = async (name) => {
  const found = first(() => theRequire()(name), () => theProcess().getBuiltinModule(name));
  if (found !== undefined) return found;
  try {
    const imported = await import(`node:${name}`);
    return imported.default ?? imported;
  } catch (error) {
    throw new Error(`no way to ${name} (${tell(error)})`);
  }
};
const needProcess = () => {
  const found = theProcess();
  if (found === undefined) throw new Error(`no way to process (${tell(lastError)})`);
  return found;
};
const needDeno = () => {
  const found = theDeno();
  if (found === undefined) throw new Error(`no way to Deno (${tell(lastError)})`);
  return found;
};
const spend = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
