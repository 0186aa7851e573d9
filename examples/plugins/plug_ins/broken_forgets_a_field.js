return { number: "1", lines: new Map(), total: 0, document: new Uint8Array() };
