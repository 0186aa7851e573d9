return await codemode.price(99);
