import "core-js-pure/modules/web.dom-exception.constructor.js";
import "core-js-pure/modules/web.dom-exception.to-string-tag.js";
import "core-js-pure/modules/web.structured-clone.js";
import path from "core-js-pure/internals/path.js";
export const { DOMException, structuredClone } = path;
