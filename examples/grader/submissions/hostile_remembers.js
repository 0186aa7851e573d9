// Leaves a note in one case, to find it in the next.
const places = [globalThis, Array, Array.prototype, Object.prototype, codemode, codemode.input, console, Math];
const seen = places.filter((place) => "note" in place).length;
for (const place of places) {
  try {
    place.note = "I was here";
  } catch {
    // frozen
  }
}
return `seen ${seen}`;
