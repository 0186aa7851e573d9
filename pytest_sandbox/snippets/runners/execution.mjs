// One execution, as every runner has it: a prepared snippet, a realm, timers, and exactly one last message.

import { prepare, SnippetSyntaxError } from "./prepare.mjs";

const LAST_WORDS_REGEXP = /^\{"op":"(result"|error","error":\{"kind":"(runtime|syntax)")/;

/**
 * Run a request to its end.
 *
 * @param {object} request nonce, source, language, tools, output, result
 * @param {object} backend
 *   write(nonce, text): send a message to the host
 *   parsers: see prepare.mjs
 *   later(action): do it once all jobs of the moment are done; setImmediate where it is missing
 *   realm(): a fresh realm, with
 *     attach(send, end, timer, configuration) -> enter(text)
 *     start(code, filename): compile the script in the realm and hand its function over; throws what the engine throws
 *     errorKind(error): "memory" when the engine gave up for lack of memory, else undefined
 * @returns {{ deliver: (text: string) => void, ended: Promise<void>, uncaught: (error: unknown) => void }}
 */
export function execute(request, backend) {
  const { nonce } = request;
  const timers = new Set();
  let realm;
  let isOver = false;
  let settle;
  const ended = new Promise((resolve) => (settle = resolve));

  function end(text) {
    if (isOver) return;
    isOver = true;
    for (const handle of timers) clearTimeout(handle);
    function tell() {
      backend.write(nonce, text);
      settle();
    }
    // After these the host uses the runner again. Not before the snippet's last job is done: one that goes on for ever would hold up
    // the next execution, which is innocent. Whatever else ended it, such as a limit, the host ends the runner.
    if (LAST_WORDS_REGEXP.test(text)) (backend.later ?? setImmediate)(tell);
    else tell();
  }

  function send(text) {
    if (!isOver) backend.write(nonce, text);
  }

  function fail(error) {
    end(JSON.stringify({ op: "error", error }));
  }

  // What was thrown outside of everything that the realm guards; only an open realm lets that happen.
  function uncaught(error) {
    const { name = "Error", message = error, stack = "" } = Object(error);
    fail({ kind: "runtime", name: String(name), message: String(message), stack: String(stack) });
  }

  function guarded(action) {
    if (isOver) return;
    try {
      action();
    } catch (error) {
      const kind = realm.errorKind(error);
      if (kind === "memory") fail({ kind, limit: "memory", name: "LimitExceeded", message: "the JavaScript heap is full" });
      else fail({ kind: "crash", name: "RunnerError", message: `the runner failed: ${error?.message}` });
    }
  }

  function timer(id, milliseconds) {
    const handle = setTimeout(() => {
      timers.delete(handle);
      guarded(() => realm.enter(`{"op":"timer","id":${Number(id)}}`));
    }, Number(milliseconds));
    timers.add(handle);
  }

  async function begin() {
    let script;
    try {
      script = await prepare(request.source, request.language, backend.parsers);
    } catch (error) {
      if (!(error instanceof SnippetSyntaxError)) throw error;
      const { message, line, column } = error;
      fail({ kind: "syntax", name: "SyntaxError", message, line, column });
      return;
    }
    guarded(() => {
      realm = backend.realm();
      realm.attach(send, end, timer, JSON.stringify({ tools: request.tools, output: request.output, result: request.result }));
      try {
        realm.start(script.code, script.filename);
      } catch (error) {
        // The engine knows early errors that no other parser does.
        if (!(error?.name === "SyntaxError")) throw error;
        fail({ kind: "syntax", name: "SyntaxError", message: `${error.message}`.replace(/ \[snippet\.[jt]s:\d+:\d+\]$/, "") });
      }
    });
  }

  begin().catch((error) => fail({ kind: "crash", name: "RunnerError", message: `the runner failed: ${error?.message}` }));
  return { deliver: (text) => guarded(() => realm?.enter(text)), ended, uncaught };
}
