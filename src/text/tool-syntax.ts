/** A function that a model may call. */
export interface ToolDefinition {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments, an object. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** A function in OpenAI's form, which templates and endpoints read. */
export const functionTool = ({ name, description, parameters }: ToolDefinition) => ({ type: "function", function: { name, ...(description !== undefined && { description }), parameters } });

/** How a family of models writes a call: `before`, the arguments as JSON, `after`. */
export interface ToolSyntax {
  /**
   * What stands before the arguments, with § for the name. Where it has a space, a model may write any white space or none.
   */
  readonly before: string;
  readonly after: string;
  /** How a call begins and ends, in as few characters as tell. */
  readonly open: string;
  readonly close: string;
  /** What may stand around calls and says nothing. */
  readonly layout: readonly string[];
  /** Counts as an opening only where nothing else has been said: for an `open` that is common in texts. */
  readonly first: boolean;
}

/** Hermes 2, and Qwen 2.5 and 3 after it. */
export const hermes: ToolSyntax = {
  before: '<tool_call> { "name" : "§" , "arguments" : ',
  after: "}\n</tool_call>",
  open: "<tool_call>",
  close: "</tool_call>",
  layout: [],
  first: false,
};

const deepseek = {
  open: "<｜tool▁call▁begin｜>",
  close: "<｜tool▁call▁end｜>",
  layout: ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
  first: false,
} as const;

/** DeepSeek V3 and R1. */
export const deepseekV3: ToolSyntax = { ...deepseek, before: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>§\n```json\n", after: "\n```<｜tool▁call▁end｜>" };

/** DeepSeek V3.1 and later. */
export const deepseekV31: ToolSyntax = { ...deepseek, before: "<｜tool▁call▁begin｜>§<｜tool▁sep｜>", after: deepseek.close };

/** Llama 3.1 and later. */
export const llama3: ToolSyntax = {
  before: '{ "name" : "§" , "parameters" : ',
  after: "}",
  open: "{",
  close: "}",
  layout: ["<|python_tag|>"],
  first: true,
};

/** The syntax that a chat template writes earlier calls in; Hermes' for one that knows of none. */
export function toolSyntaxOf(template: string): ToolSyntax {
  if (template.includes(deepseek.open)) return template.includes("```json") ? deepseekV3 : deepseekV31;
  if (!template.includes(hermes.open) && /\\?"parameters\\?": /.test(template)) return llama3;
  return hermes;
}

/** The texts that tell calls from what is said. */
export function toolMarks({ open, close, layout }: ToolSyntax): readonly string[] {
  return [open, close, ...layout].filter((mark) => mark.length > 1);
}

/** A call as the model is to write it. */
export function renderToolCall(syntax: ToolSyntax, name: string, args: string): string {
  return `${beforeArguments(syntax, name)}${args}${syntax.after}`;
}

/** The role of a message with what calls gave, for a template that knows of no calls: its own where the template names it. */
export const resultRole = (template: string): "tool" | "user" => (/["']tool["']/.test(template) ? "tool" : "user");

/** What a call gave, in such a message, for a template that knows of no calls. */
export function renderToolResult(result: string): string {
  return `<tool_response>\n${result}\n</tool_response>`;
}

/** `before` in its plain form, with the name in. */
export function beforeArguments({ before }: ToolSyntax, name: string): string {
  const plain = before.replace("> {", ">\n{").replaceAll(/ ?([{:,]) /g, (_, mark: string) => (mark === "{" ? mark : `${mark} `));
  return plain.replace("§", name);
}

/** Tells a model what it may call, where its template does not. */
export function toolInstructions(syntax: ToolSyntax, tools: readonly ToolDefinition[]): string {
  const list = tools.map((tool) => JSON.stringify(tool)).join("\n");
  return `Functions you may call:\n${list}\nTo call one, write:\n${renderToolCall(syntax, "NAME", "ARGUMENTS")}`;
}
