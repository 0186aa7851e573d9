for (;;) await Promise.all([1, 2, 1, 2].map((article) => codemode.price(article)));
