const numbers = await codemode.input();
return numbers.sort((a, b) => a - b)[numbers.length >> 1;
