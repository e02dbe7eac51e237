/** Rows of cells as lines, columns aligned; the first row is a header. */
export function table(rows: readonly (readonly string[])[], emphasize: (text: string) => string = (text) => text): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("   ").trimEnd());
  return lines.map((line, i) => `${i === 0 ? emphasize(line) : line}\n`).join("");
}
