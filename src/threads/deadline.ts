import { createContext, Script } from "node:vm";

const context = createContext({ act: null as (() => unknown) | null });
const script = new Script("act()");

/**
 * What a function returns, or null when it has not returned after so many milliseconds: then it is ended where it stands, a regular
 * expression that backtracks too. For calls that are not nested, and leave nothing half done that matters. Throws what it throws.
 */
export function withinDeadline<T>(milliseconds: number, act: () => T): { readonly value: T } | null {
  context["act"] = act;
  try {
    return { value: script.runInContext(context, { timeout: milliseconds }) as T };
  } catch (error) {
    if ((error as { readonly code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return null;
    throw error;
  } finally {
    context["act"] = null;
  }
}
