import "core-js-pure/modules/web.dom-exception.constructor.js";
import "core-js-pure/modules/web.dom-exception.to-string-tag.js";
import "core-js-pure/modules/web.atob.js";
import "core-js-pure/modules/web.btoa.js";
import path from "core-js-pure/internals/path.js";
export const { DOMException, atob, btoa } = path;
