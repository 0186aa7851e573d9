const numbers = await codemode.input();
if (numbers.length === 0) throw new RangeError("the list is empty");
return numbers.toSorted((a, b) => a - b).at(numbers.length >> 1);
