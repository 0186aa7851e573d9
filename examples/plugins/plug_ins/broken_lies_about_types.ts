const { placed } = await codemode.order();
const total: number = "7.50" as unknown as number; // types are taken out, not checked
return { number: "1", due: placed, lines: new Map([[1, 300], [2, 450]]), total, document: new Uint8Array() };
