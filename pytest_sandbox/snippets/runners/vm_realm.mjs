// A hardened realm in a node:vm context: a global object of its own, without code generation, and without a callback for
// imports, so that import() of anything is refused. For Deno, and for Node where it is asked for.

import vm from "node:vm";

/**
 * @param {string} realmText as composeRealm makes it
 * @param {(name: string) => string} polyfill returns the text of one function expression
 */
export function makeVmRealm(realmText, polyfill) {
  const context = vm.createContext(vm.constants.DONT_CONTEXTIFY, { codeGeneration: { strings: false, wasm: false } });
  const run = (code, filename, lineOffset) => new vm.Script(code, { filename, lineOffset }).runInContext(context);
  return realmOver(run, run(realmText, "realm.js", 0)(), polyfill);
}

/** The realm of Node itself: everything that Node offers is there, and something around the process is the wall. */
export function makeOpenRealm(realmText, polyfill) {
  const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const run = (code, filename, lineOffset) =>
    new vm.Script(code, { filename, lineOffset, importModuleDynamically }).runInThisContext();
  return realmOver(run, run(realmText, "realm.js", 0)(true), polyfill);
}

function realmOver(run, attach, polyfill) {
  let enter;
  return {
    attach(send, end, timer, configuration) {
      const load = (name) => enter(run(polyfill(name), `${name}.js`, 0), name);
      enter = attach(send, end, timer, load, configuration);
    },
    start(code, filename) {
      enter(run(code, filename, -1));
    },
    enter(text) {
      enter(text);
    },
    errorKind() {
      return undefined; // a full heap ends the whole process
    },
  };
}
