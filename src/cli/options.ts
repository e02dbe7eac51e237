import { InvalidArgumentError, Option } from "commander";

/** Parses an option that is a whole number in a range. */
export function wholeNumber(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= low && value <= high) return value;
    throw new InvalidArgumentError(high === Number.MAX_SAFE_INTEGER ? `Expected a whole number, at least ${low}.` : `Expected a whole number from ${low} to ${high}.`);
  };
}

/** What a model's matrices are multiplied in. */
export function dtypeOption(byDefault: string): Option {
  return new Option("--dtype <type>", `auto: in the blocks that a file stores, faster, activations rounded to 8 bits; float32: exact (default: ${byDefault})`).choices(["auto", "float32"]);
}

/** Parses an option that is a number in a range. */
export function realNumber(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number from ${low} to ${high}.`);
  };
}
