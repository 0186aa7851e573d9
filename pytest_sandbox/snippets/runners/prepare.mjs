// From a snippet's text to a script whose value is one function. Nothing is run here: the text is only parsed.

const AsyncFunction = (async () => {}).constructor;
const PARSER_OPTIONS = { ecmaVersion: "latest", sourceType: "script", preserveParens: true };
const BODY_OPTIONS = { ...PARSER_OPTIONS, allowReturnOutsideFunction: true, allowAwaitOutsideFunction: true, allowHashBang: false };

/** A snippet that cannot be parsed; line and column count from 1, or are undefined where no parser could tell. */
export class SnippetSyntaxError extends Error {
  constructor(message, line, column) {
    super(message);
    this.line = line;
    this.column = column;
  }
}

/**
 * Return `{ code, filename }`: a script to compile with a line offset of -1, so that its lines are the snippet's own.
 *
 * @param {string} source the snippet
 * @param {"js" | "ts"} language
 * @param {object} parsers
 *   acorn(), strip(): promises of the parser and of the stripper of types, loaded only when they are needed
 *   AsyncFunction: that of another realm, where this one makes no code from strings
 *   refuseImports: whether import() is replaced
 *   isRewritten: whether somebody rewrites the code by acorn afterwards
 */
export async function prepare(source, language, parsers) {
  const script = await compose(source, language, parsers);
  // Cheap tests that spare nearly all snippets the parser; escapes like \u0069mport are not allowed in a keyword.
  let { code } = script;
  if (parsers.isRewritten && KEYWORD_REGEXP.test(code)) code = disarmLiterals(code, await parsers.acorn());
  if (parsers.refuseImports && /\bimport\b/.test(code)) code = refuseImports(code, await parsers.acorn());
  return { ...script, code };
}

const KEYWORD_REGEXP = /(?<!\\)(?:\b(?:import|catch|async|with)\b|VM2_)/;
const KEYWORDS_REGEXP = new RegExp(KEYWORD_REGEXP, "g");
// A regular expression shows its text: only what could be the beginning of code is touched.
const KEYWORDS_OF_CODE_REGEXP = /(?<!\\)(?:\b(?:import|catch|with)\b(?=\s*[({./])|\basync\b|VM2_)/g;

/**
 * Escape, inside of literals, the keywords that somebody who rewrites code looks for. Where acorn takes for a literal what the engine
 * takes for code (after `a?.of`, acorn expects no division), such a keyword is missed by the one and run by the other. Escaped, it
 * means the same in a literal, and is a syntax error in code. In comments, it is blanked.
 */
function disarmLiterals(code, acorn) {
  const places = [];
  const escaped = (word) => `\\u00${word.charCodeAt(0).toString(16)}${word.slice(1)}`;
  const change = (pattern, by) => (start, end) => places.push({ start, end, text: code.slice(start, end).replace(pattern, by) });
  const literal = change(KEYWORDS_REGEXP, escaped);
  const regexp = change(KEYWORDS_OF_CODE_REGEXP, escaped);
  const comment = change(KEYWORDS_REGEXP, (word) => "-".repeat(word.length));
  const visit = (node) => {
    if (node === null || typeof node !== "object") return;
    if (node.regex !== undefined) regexp(node.start, node.end);
    else if (node.type === "TemplateElement" || typeof node.value === "string") literal(node.start, node.end);
    // A tag sees the text as it was written; the engine cannot see code there, for acorn saw no slash before it.
    const parts = node.type === "TaggedTemplateExpression" ? [node.tag, node.quasi.expressions] : Object.values(node);
    for (const part of parts) visit(part);
  };
  try {
    visit(acorn.parse(code, { ...PARSER_OPTIONS, onComment: (isBlock, text, start, end) => comment(start, end) }));
  } catch (error) {
    throw new SnippetSyntaxError(`The parser cannot read the snippet: ${error.message}`);
  }
  return replaced(code, places);
}

/** Put other texts in place; in one pass, for a large source can have very many. */
function replaced(code, places) {
  const pieces = [];
  let at = 0;
  for (const { start, end, text } of places.sort((a, b) => a.start - b.start)) {
    if (start < at) continue; // told twice
    pieces.push(code.slice(at, start), text);
    at = end;
  }
  return pieces.join("") + code.slice(at);
}

/**
 * Replace every import() by a call of a function that refuses: where an engine answers import() with objects of the runner's own
 * realm, there must be none.
 */
function refuseImports(code, acorn) {
  const places = [];
  const visit = (node) => {
    if (node === null || typeof node !== "object") return;
    // As long as the keyword, so that columns stay valid.
    if (node.type === "ImportExpression") places.push({ start: node.start, end: node.start + "import".length, text: "impor$" });
    for (const part of Object.values(node)) visit(part);
  };
  try {
    visit(acorn.parse(code, BODY_OPTIONS));
  } catch (error) {
    throw new SnippetSyntaxError(`A snippet with import() in it must be readable for the parser, which says: ${error.message}`);
  }
  const refuse = "async () => { throw new TypeError('Cannot import: import() is refused in the sandbox') }";
  return places.length === 0 ? code : `((impor$) => ${replaced(code, places)})(${refuse})`;
}

async function compose(source, language, parsers) {
  if (source.startsWith("#!")) throw new SnippetSyntaxError("A snippet cannot start with a shebang line", 1, 1);
  const text = language === "ts" ? stripTypes(source, await parsers.strip()) : source;
  const filename = `snippet.${language}`;
  if (mayBeFunction(text)) {
    const end = endOfFunction(text, await parsers.acorn());
    if (end !== undefined) return { code: `(\n${text.slice(0, end)}\n)`, filename };
  }
  try {
    // Unlike a wrapper of text, this constructor parses the body by itself: "})(); evil(); (async () => {" is an error.
    new (parsers.AsyncFunction ?? AsyncFunction)(text);
  } catch (error) {
    throw locate(text, error, await parsers.acorn());
  }
  return { code: `(async function () {\n${text}\n})`, filename };
}

/** Whether the first token could begin a function: a cheap test that spares most snippets a second parser. */
function mayBeFunction(text) {
  const blank = /(?:[\s\uFEFF;]+|\/\/[^\n\r\u2028\u2029]*|\/\*[^]*?\*\/)*/y;
  blank.test(text);
  const first = /\(|(?:async|function)\b|[\p{ID_Start}$_][\p{ID_Continue}$]*\s*=>/uy;
  first.lastIndex = blank.lastIndex;
  return first.test(text);
}

/** Return where the function ends if the whole text is one function expression, declaration or arrow, else undefined. */
function endOfFunction(text, acorn) {
  try {
    const node = acorn.parseExpressionAt(text, 0, PARSER_OPTIONS);
    let inner = node;
    while (inner.type === "ParenthesizedExpression") inner = inner.expression;
    if (inner.type !== "FunctionExpression" && inner.type !== "ArrowFunctionExpression") return undefined;
    for (const token of acorn.tokenizer(text.slice(node.end), PARSER_OPTIONS)) {
      if (token.type !== acorn.tokTypes.semi) return undefined;
    }
    return node.end;
  } catch {
    return undefined;
  }
}

/** Say where V8's error is: its own message has no position when a function body is parsed alone. */
function locate(text, error, acorn) {
  // Of a function without a name that cannot be parsed, V8 says only that it is no statement.
  const isExpression = error.message === "Function statements require a function name";
  const located = firstError(text, acorn, isExpression);
  if (located === undefined) return new SnippetSyntaxError(error.message);
  let { message } = error;
  // V8 speaks here of the braces that it put around the body.
  if (located.position >= text.trimEnd().length) message = "Unexpected end of input";
  else if (isExpression || message === "Single function literal required") message = located.message;
  return new SnippetSyntaxError(message, located.line, located.column);
}

/** Some errors, such as `let await`, are errors only in an async function: as such the body is parsed second. */
function firstError(text, acorn, isExpression) {
  const asBody = [["", "", BODY_OPTIONS], ["async function snippet() {\n", "\n}", PARSER_OPTIONS]];
  for (const [head, tail, options] of isExpression ? [["(\n", "\n)", PARSER_OPTIONS]] : asBody) {
    try {
      acorn.parse(head + text + tail, options);
    } catch ({ message, pos }) {
      if (pos === undefined) return { message }; // the parser itself gave up
      const position = Math.min(pos - head.length, text.length);
      const { line, column } = acorn.getLineInfo(text, position);
      return { position, line, column: column + 1, message: message.replace(/ \(\d+:\d+\)$/, "") };
    }
  }
  return undefined;
}

/** Replace types by blanks. The stripper wants whole programs, so it sees the body inside a function. */
function stripTypes(source, strip) {
  const wrappers = [
    ["async function snippet() {\n", "\n}"],
    ["(\n", "\n)"], // an anonymous function is an expression only
  ];
  let first;
  for (const [head, tail] of wrappers) {
    try {
      return strip(head + source + tail).slice(head.length, -tail.length);
    } catch (error) {
      // A stack that overflowed, say, leaves the stripper broken for whoever comes next: that ends the runner.
      if (typeof error?.code !== "string") throw error;
      first ??= error;
    }
  }
  const message = `${first.message ?? first}`.split("\n")[0];
  throw new SnippetSyntaxError(message, first.startLine === undefined ? undefined : first.startLine - 1, first.startColumn === undefined ? undefined : first.startColumn + 1);
}
