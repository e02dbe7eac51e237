const rawBegins = /(^[ \t]*)?\{%([-+]?)\s*raw\s*(-?)%\}/gm;
const rawEnds = /\{%([-+]?)\s*endraw\s*([-+]?)%\}/g;

/**
 * A template without what the interpreter's parser does not know: `{% raw %}` blocks become texts, and the plus that keeps the
 * white space beside a block becomes an empty text there.
 */
export function withRawText(template: string): string {
  let out = "";
  let rest = 0;
  for (let begin = next(rawBegins, template, 0); begin !== null; begin = next(rawBegins, template, rest)) {
    const [opening, indent = "", keep, trimmed] = begin;
    const from = begin.index + opening.length;
    const end = next(rawEnds, template, from);
    if (end === null) break;
    const [closing, trimmedEnd, keepEnd] = end;
    const inner = keepEndOf(template.slice(from, end.index), closing);
    const text = trimmed === "-" ? inner.trimStart() : inner;
    const shown = JSON.stringify(trimmedEnd === "-" ? text.trimEnd() : text).replace(/[{}]/g, (brace) => `\\x${brace.charCodeAt(0).toString(16)}`);
    out += `${withoutPlus(template.slice(rest, begin.index))}${keep === "+" ? indent : ""}{{${keep === "-" ? "-" : ""} ${shown} ${keepEnd === "-" ? "-" : ""}}}`;
    rest = end.index + closing.length;
    if (keepEnd === "" && template[rest] === "\n") rest++;
  }
  return out + withoutPlus(template.slice(rest));
}

/** White space alone ahead of a block on its line is dropped. */
const keepEndOf = (text: string, closing: string): string => (closing.startsWith("{%+") ? text : text.replace(/(?<=\n)[ \t]+$/, ""));

function next(pattern: RegExp, text: string, from: number): RegExpExecArray | null {
  pattern.lastIndex = from;
  return pattern.exec(text);
}

const withoutPlus = (source: string): string => source.replaceAll("{%+", "{{ '' }}{%").replaceAll("+%}", "%}{{ '' }}");
