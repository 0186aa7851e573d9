const sorted = [...(await codemode.input())].sort((a, b) => a - b);
const middle = sorted.length >> 1;
if (sorted.length % 2 === 0 && sorted.length > 0) return (sorted[middle - 1] + sorted[middle]) / 2;
return sorted[middle];
