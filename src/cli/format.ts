/** Numbers as people read them. */

/** 98.4 MB, 1.1 GB: powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** 134,515,008 (134.5 M) */
export function formatCount(count: number): string {
  const plain = count.toLocaleString('en-US');
  if (count < 1e6) return plain;
  return `${plain} (${count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} B`})`;
}
