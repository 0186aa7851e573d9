const numbers = await codemode.input();
if (numbers.length === 0) return null;
const sorted = [...numbers].sort(); // as text: "10" comes before "9"
const middle = sorted.length >> 1;
return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
