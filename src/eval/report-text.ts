/** A text inside HTML or a quoted attribute of it. */
export const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** A name of words joined by "_", which may go on in the next line between them. */
export const breakable = (name: string): string => escaped(name).replaceAll("_", "_<wbr>");
