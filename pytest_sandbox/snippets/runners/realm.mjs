// The realm: what a snippet finds around it. The same text runs first in every bare V8 realm (an isolate, a vm2 sandbox, a
// node:vm context), so that all executors offer one environment.
//
// It is one function expression, made of the files in realm/, which share its scope. The call hardens the realm (unless told that
// something else is the wall: then the engine's own globals stay) and returns `attach`, which the runner calls once per execution
// with its channels. Only strings and numbers cross them:
//
//   send(text)      one message to the host, as JSON without a newline
//   end(text)       the last message of this execution
//   timer(id, ms)   ask for enter('{"op":"timer","id":…}') after that many milliseconds
//   load(name)      ask for enter(function, name) of a polyfill, before load returns
//
// `attach` returns `enter`: called with a string it takes a message in, called with a function it starts the snippet.
//
// Freezing every prototype makes the builtins below safe to use by name; what touches a snippet's own objects goes through the
// functions captured here, and every such touch may run the snippet's code (getters, proxies), inside the limits.

const PARTS = ["basics", "hardening", "values", "errors", "console", "execution"];

const LAST = `
if (isHardened) {
  hardenEarly();
  defineLazyGlobals();
}
return attach;`;

/**
 * Return the text of the realm.
 *
 * @param {(name: string) => string} read returns the text of a file in realm/
 */
export function composeRealm(read) {
  return `(function realm(isOpen) {\n"use strict";\n${PARTS.map(read).join("\n")}${LAST}\n})`;
}
