const { placed }: { placed: Date } = await codemode.order();
const document = new Uint8Array(1_000_000).fill(32);
return { number: "1", due: placed, lines: new Map([[1, 300], [2, 450]]), total: 750, document };
