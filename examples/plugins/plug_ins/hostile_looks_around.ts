const found: string[] = ["process", "require", "Deno", "fetch", "XMLHttpRequest"].filter((name: string) => name in globalThis);
throw new Error(`found: ${found.join(", ") || "nothing"}`);
