import { jsonShape } from "../text/index.ts";

/** Levels of JSON that are read: far above what clients send, and far below what would exhaust a stack. */
export const mostJsonDepth = 256;

/** Whether brackets and braces of a JSON text, strings aside, are nested deeper than we read. */
export const isTooDeep = (json: string): boolean => jsonShape(json).depth > mostJsonDepth;
