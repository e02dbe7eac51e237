import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { toolCalls, type ChatAnswer, type ChatBody } from "./chat-answers.ts";
import { parsedJson } from "./parsed-json.ts";

/** One answer with what was asked. */
export interface AnswerRecord {
  /** Who answered: an endpoint's address, or a model's name and fingerprint. */
  readonly from: string;
  /** The question's id. */
  readonly id: string;
  /** Which of the answers to it. */
  readonly sample: number;
  readonly request: ChatBody;
  readonly answer: ChatAnswer;
}

/** Answers that are there already, and a place for more. */
export interface AnswerStore {
  find(asked: Omit<AnswerRecord, "answer">): ChatAnswer | undefined;
  add(record: AnswerRecord): void;
  close(): void;
}

const keyOf = ({ from, id, sample, request }: Omit<AnswerRecord, "answer">): string => JSON.stringify([from, id, sample, request]);

/** Keeps answers while the process runs. */
export function answersInMemory(known: readonly AnswerRecord[] = []): AnswerStore {
  const answers = new Map(known.map((record) => [keyOf(record), record.answer]));
  return { find: (asked) => answers.get(keyOf(asked)), add: (record) => void answers.set(keyOf(record), record.answer), close: () => {} };
}

const count = z.number().min(0);
const line = z.object({
  from: z.string(),
  id: z.string(),
  sample: count,
  request: z.looseObject({ model: z.string(), messages: z.array(z.object({ role: z.enum(["system", "user"]), content: z.string() })) }),
  answer: z.object({
    content: z.string(),
    reasoning_content: z.string().nullable(),
    finish_reason: z.string().nullable(),
    tool_calls: toolCalls.optional(),
    usage: z.object({ prompt_tokens: count, cached_tokens: count, completion_tokens: count }).nullable(),
    core_seconds: count.nullable(),
  }),
});

/**
 * Answers in a file, one JSON object a line, each on the disk before the next question takes its place. A line that a kill has left unfinished is
 * cut off.
 * @throws LongjingError "bad_file" for a line that is no answer, "disk" where the file cannot be written
 */
export function answersInFile(path: string): AnswerStore {
  const text = onDisk(path, () => (existsSync(path) ? readFileSync(path) : Buffer.alloc(0)));
  const whole = text.lastIndexOf("\n") + 1;
  const records = text.toString("utf8", 0, whole).split("\n").flatMap((one, i) => (one === "" ? [] : [recordOf(one, `${path}:${i + 1}`)]));
  const memory = answersInMemory(records);
  const file = onDisk(path, () => {
    if (whole < text.length) truncateSync(path, whole);
    return openSync(path, "a", 0o600);
  });
  return {
    find: memory.find,
    add: (record) => {
      memory.add(record);
      onDisk(path, () => writeAll(file, Buffer.from(`${JSON.stringify(record)}\n`)));
    },
    close: () => {
      fsyncSync(file);
      closeSync(file);
    },
  };
}

function recordOf(text: string, where: string): AnswerRecord {
  const parsed = z.string().transform(parsedJson).pipe(line).safeParse(text);
  if (!parsed.success) throw new LongjingError("bad_file", "The line is no answer", { where, got: text, expected: "a file that longjing eval has written" });
  return parsed.data;
}

/** The system call may take fewer bytes than it is given. */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function onDisk<T>(where: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new LongjingError("disk", "The answers cannot be written", { where, got: cause instanceof Error ? cause.message : cause }, { cause });
  }
}
