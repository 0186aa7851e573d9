const order = await codemode.order();
enum Currency { Euro, Dollar }
return Currency.Euro;
