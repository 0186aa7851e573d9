while (true) await Promise.resolve();
