// How console.log shows what is not a string.
export { default as inspect } from "object-inspect";
