// What a container really is, read from inside: an engine can be asked for a setting, and a runtime can ignore it.

import { accessSync, constants, readFileSync } from "node:fs";

function read(path) {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** The first of these files that is there: control groups have one layout in version 2, another in version 1. */
function readFirst(...paths) {
  for (const path of paths) {
    const text = read(path);
    if (text !== undefined) return text;
  }
  return undefined;
}

function isReadable(path) {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Mount point to its options, those of the mount and those of its filesystem together. */
function mounts() {
  const found = {};
  for (const line of (read("/proc/self/mountinfo") ?? "").split("\n")) {
    const [before, after = ""] = line.split(" - ");
    const [, , , , point, options] = before.split(" ");
    const [kind, , more] = after.split(" ");
    if (point !== undefined) found[point] = { kind, options: `${options},${more ?? ""}`.split(",") };
  }
  return found;
}

function cpuQuota() {
  const both = read("/sys/fs/cgroup/cpu.max");
  if (both !== undefined) return both.split(" ");
  return ["cfs_quota_us", "cfs_period_us"].map((name) => readFirst(`/sys/fs/cgroup/cpu/cpu.${name}`, `/sys/fs/cgroup/cpu,cpuacct/cpu.${name}`) ?? "");
}

export function readSettings() {
  const status = Object.fromEntries((read("/proc/self/status") ?? "").split("\n").map((line) => line.split(/:\s*/, 2)));
  const table = mounts();
  return {
    uids: status.Uid ?? "",
    gids: status.Gid ?? "",
    groups: (status.Groups ?? "").trim(),
    capabilities: [status.CapInh, status.CapPrm, status.CapEff, status.CapBnd, status.CapAmb].map((mask) => mask ?? ""),
    no_new_privileges: status.NoNewPrivs ?? "",
    seccomp: status.Seccomp ?? "",
    root: table["/"]?.options ?? [],
    tmp: table["/tmp"] ?? null,
    memory: readFirst("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes") ?? "",
    swap: read("/sys/fs/cgroup/memory.swap.max") ?? "",
    memory_and_swap: read("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") ?? "",
    pids: readFirst("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max") ?? "",
    cpu: cpuQuota(),
    interfaces: (read("/proc/net/dev") ?? "?").split("\n").slice(2).map((line) => line.split(":")[0].trim()),
    swap_devices: (read("/proc/swaps") ?? "").split("\n").length - 1,
    process: process.pid,
    readable_node: isReadable(process.execPath),
  };
}

/** How many processes of this container the kernel has killed for want of memory. */
export function memoryKills() {
  const text = readFirst("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control") ?? "";
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
