import { InvalidArgumentError } from "commander";

/** Parses an option that is a whole number in a range. */
export function wholeNumber(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= low && value <= high) return value;
    throw new InvalidArgumentError(high === Number.MAX_SAFE_INTEGER ? `Expected a whole number, at least ${low}.` : `Expected a whole number from ${low} to ${high}.`);
  };
}

/** Parses an option that is a number in a range. */
export function realNumber(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number from ${low} to ${high}.`);
  };
}
