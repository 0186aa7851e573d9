const { placed } = await codemode.order();
return { number: "1", due: placed.toLocaleDateString(), lines: new Map([[1, 300], [2, 450]]), total: 750, document: new Uint8Array() };
