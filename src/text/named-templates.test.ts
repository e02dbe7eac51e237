import { expect, it } from "vitest";
import { renderChat } from "./chat-template.ts";
import { chatTemplateOf } from "./named-templates.ts";

const plain = "\n  {% for m in messages %}{{ m.content }}{% endfor %} \n";
const withTools = "  {% if true %}\n{{ tools|length }} {{ messages[0].content }}\n  {% endif %}\n  \n";
const named = (...templates: (readonly [string, string])[]): unknown => templates.map(([name, template]) => ({ name, template }));
const messages = [{ role: "user", content: "hi" }];

it("renders of a list what each of its templates renders, the one for tools where tools are given", () => {
  const both = chatTemplateOf(named(["tool_use", withTools], ["default", plain], ["rag", "?"]))!;
  expect(renderChat(both, messages)).toBe(renderChat(plain, messages));
  expect(renderChat(both, messages, { tools: null })).toBe(renderChat(plain, messages));
  for (const tools of [[], [{}]]) expect(renderChat(both, messages, { tools })).toBe(renderChat(withTools, messages, { tools }));
});

it("takes the default where none is for tools, and a template that stands alone", () => {
  expect(chatTemplateOf(named(["default", plain], ["rag", "?"]))).toBe(plain);
  expect(chatTemplateOf(plain)).toBe(plain);
  for (const nothing of [undefined, null, []]) expect(chatTemplateOf(nothing)).toBeNull();
  expect(() => chatTemplateOf(named(["tool_use", withTools]))).toThrow(expect.objectContaining({ code: "bad_file" }));
});
