return { number: "1", lines: { of: () => 1 } };
