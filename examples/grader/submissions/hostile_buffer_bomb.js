// Buffers are outside of the engine's heap. Where the engine says no, try on: only a full sandbox counts.
const hoard = [];
for (;;) {
  try {
    hoard.push(new Uint8Array(8e6).fill(1));
  } catch {
    hoard.push(new Array(1e6).fill(Math.random()));
  }
}
