import type { PackedNumbers } from "./gguf-cursor.ts";
import type { GgufValue } from "./gguf-header.ts";
import { PackedTexts } from "./packed-texts.ts";

/** Names of tokens that end a text in one family of models or another, and of those that part the files of a repository. */
const ends = new Set(
  (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> " +
    "<|tool_response> <｜end▁of▁sentence｜> [e~[ <|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|>"
  ).split(" "),
);

/** Names that end nothing in a vocabulary that has all of these beside them. */
const exceptions: readonly (readonly [name: string, beside: readonly string[]])[] = [
  ["<|end|>", ["<|return|>", "<|call|>"]],
  ["<|end|>", ["<|flush|>", "<|call|>"]],
  ["<|end|>", ["<|flush|>", "<|calls|>"]],
  ["</s>", ["<|tool_response>"]],
];

/** Of `tokenizer.ggml.token_type`: control tokens and the user's. */
const markers = [3, 4];

/**
 * Ids of the tokens at which llama.cpp stops for their names, whatever the file says to end with (`llama_vocab::impl::load`,
 * `src/llama-vocab.cpp`).
 * @param types of the tokens, of which control and user-defined ones count; all do where there is none
 */
export function endsByName(tokens: GgufValue | undefined, types: GgufValue | undefined): number[] {
  if (!Array.isArray(tokens) && !(tokens instanceof PackedTexts)) return [];
  const marked = Array.isArray(types) || ArrayBuffer.isView(types) ? markers.flatMap((marker) => allOf(types, marker)).toSorted((a, b) => a - b) : Array.from({ length: tokens.length }, (_, id) => id);
  const names = tokens instanceof PackedTexts ? tokens.pick(marked) : marked.map((id): unknown => tokens[id]);
  const found = new Map<string, number>();
  for (const [at, name] of names.entries()) if (typeof name === "string" && ends.has(name)) found.set(name, marked[at]!);
  for (const [name, beside] of exceptions) if (beside.every((other) => found.has(other))) found.delete(name);
  return [...found.values()];
}

/** Where the marker is. */
function allOf(types: readonly unknown[] | PackedNumbers, marker: number): number[] {
  const found: number[] = [];
  for (let at = types.indexOf(marker); at !== -1; at = types.indexOf(marker, at + 1)) found.push(at);
  return found;
}
