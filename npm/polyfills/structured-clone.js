export { default as DOMException } from "core-js-pure/actual/dom-exception/index.js";
export { default as structuredClone } from "core-js-pure/actual/structured-clone.js";
