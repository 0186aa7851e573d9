const { placed } = await codemode.order();
return { number: "1", due: placed, lines: new Map([[1, 300], [2, 450]]), total: 1, document: new Uint8Array() };
