import { z } from "zod";

/** For `z.string().transform(parsedJson)`: the value of a JSON text, or an issue. */
export function parsedJson(text: string, context: z.RefinementCtx): unknown {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue("not JSON");
    return z.NEVER;
  }
}
