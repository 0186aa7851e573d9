interface Order {
  customer: string;
  placed: Date;
  items: Map<number, number>;
}

type Invoice = { number: string; due: Date; lines: Map<number, number>; total: number; document: Uint8Array };

declare const codemode: {
  order(): Promise<Order>;
  price(article: number): Promise<number>;
};

async function invoice(): Promise<Invoice> {
  const order: Order = await codemode.order();
  const priced = await Promise.all(
    [...order.items].map(async ([article, count]): Promise<[number, number]> => [article, count * (await codemode.price(article))]),
  );
  const lines = new Map<number, number>(priced);
  const total = sum(lines.values());
  const due = new Date(order.placed.getTime() + 30 * 24 * 3600 * 1000);
  const euros = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(total / 100);
  const document = new TextEncoder().encode(`${order.customer}: ${euros}\n`);
  return { number: `${order.placed.getUTCFullYear()}-0001`, due, lines, total, document } satisfies Invoice;

  function sum<T extends number>(values: Iterable<T>): number {
    let all = 0;
    for (const value of values) all += value as number;
    return all;
  }
}
