import type { Recipe } from "longjing/train";
import { countdownZero } from "./countdown-zero.ts";

/** The negative control of countdown-zero: everything the same, but each step's rewards are dealt out at random. It must stay flat. */
export const recipe: Recipe = countdownZero({ shuffle: true });
