import { tags } from "../text/index.ts";

/**
 * The answer in what a model says behind its thinking: what its last answer block holds, else all of it. Null where there is none: an empty
 * text, a block that is not closed, a thought that is not, and a text without a block that was cut at the limit of tokens.
 */
export function answerIn(content: string, truncated: boolean): string | null {
  const said = content.slice(content.lastIndexOf(tags.thinkClose) === -1 ? 0 : content.lastIndexOf(tags.thinkClose) + tags.thinkClose.length);
  if (said.includes(tags.thinkOpen)) return null;
  const open = said.lastIndexOf(tags.answerOpen);
  if (open === -1) return truncated || said.trim() === "" ? null : said.trim();
  const start = open + tags.answerOpen.length;
  const close = said.indexOf(tags.answerClose, start);
  return close === -1 ? null : said.slice(start, close).trim() || null;
}
