return "1".repeat(10_000_000);
