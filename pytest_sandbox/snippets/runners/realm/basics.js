// What the other parts use: their constants, and the engine's functions, captured before any snippet can touch them.

const isHardened = isOpen !== true;

const MAX_DEPTH = 100; // as in values.py
const OUTPUT_FACTOR = 16; // past this many times the output limit, the execution ends
const TEXT_MOST = 16384; // characters of a name, message or stack that cross
const PIECES_MOST = 4096; // pieces of text that are collected before they are joined
const CAUSES_MOST = 5; // links of a chain of causes that cross

const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect;
const { create, freeze, getOwnPropertyNames, is, keys } = Object;
const { isArray } = Array;
const { isSafeInteger, isInteger } = Number;
const { parse, stringify } = JSON;
const { fromCharCode } = String;
const TheProxy = typeof Proxy === "function" ? Proxy : undefined;
const ThePromise = Promise;
const TheError = Error;
const global = globalThis;

function uncurry(method) {
  return (self, ...args) => apply(method, self, args);
}
const isWellFormed = uncurry(String.prototype.isWellFormed);
const toWellFormed = uncurry(String.prototype.toWellFormed);
const bigintToString = uncurry(BigInt.prototype.toString);
const dateGetTime = uncurry(Date.prototype.getTime);
const mapForEach = uncurry(Map.prototype.forEach);
const setForEach = uncurry(Set.prototype.forEach);
const typedArrayPrototype = getPrototypeOf(Uint8Array.prototype);
const typedArrayTag = uncurry(getOwnPropertyDescriptor(typedArrayPrototype, Symbol.toStringTag).get);
const typedArrayLength = uncurry(getOwnPropertyDescriptor(typedArrayPrototype, "length").get);
