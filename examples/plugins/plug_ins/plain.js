async function invoice() {
  const { customer, placed, items } = await codemode.order();
  const lines = new Map();
  for (const [article, count] of items) lines.set(article, count * (await codemode.price(article)));
  const total = [...lines.values()].reduce((sum, cents) => sum + cents, 0);
  const due = new Date(placed);
  due.setUTCDate(due.getUTCDate() + 30);
  const text = `Dear ${customer},\nplease pay ${(total / 100).toFixed(2)} € until ${due.toISOString().slice(0, 10)}.\n`;
  return { number: `${placed.getUTCFullYear()}-0001`, due, lines, total, document: new TextEncoder().encode(text) };
}
