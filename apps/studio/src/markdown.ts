import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";

// No raw HTML, and no images: an image is a request, and its address could carry a conversation away.
const markdown = new MarkdownIt({ html: false, breaks: true, linkify: false }).disable("image");

// 3*(5+7)*2 is arithmetic, not emphasis.
markdown.inline.ruler.before("emphasis", "product", (state, silent) => {
  const [before, sign, after] = [state.src[state.pos - 1] ?? "", state.src[state.pos], state.src[state.pos + 1] ?? ""];
  if (sign !== "*" || !/[\d)]/.test(before) || !/[\d(]/.test(after)) return false;
  if (!silent) state.pending += sign;
  state.pos++;
  return true;
});

/** Markdown from a model as HTML that is safe to insert. */
export function renderMarkdown(text: string): string {
  return DOMPurify.sanitize(markdown.render(text), { FORBID_TAGS: ["img", "style", "form", "input", "video", "audio"], FORBID_ATTR: ["style"] });
}

// Links lead away from the page: in a tab of their own, and without saying where from.
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});
