import { LongjingError } from "../errors/index.ts";
import { cacheShape, logits, tokenAfterNextHidden, type ModelConfig } from "../model/index.ts";
import { compile, runBinding, type Backend, type Binding, type DeviceTensor, type Program, type SessionOptions } from "../runtime/index.ts";
import { gather, type TensorType, type Value } from "../tensor/index.ts";
import { allValues, tensorsOf, typesOf, type ModelParameters } from "./model-parameters.ts";
import { placeTypes, stepContext, tokenType } from "./step-inputs.ts";

interface DraftOptions {
  readonly max_num_seqs: number;
  readonly max_model_len: number;
  readonly frozen?: ModelParameters;
  readonly session?: SessionOptions;
}

/** A row of tokens whose next but one is wanted. */
export interface DraftRequest {
  readonly row: number;
  /** Tokens of the row, the last of which the main model has not seen yet. */
  readonly tokens: readonly number[];
  /** Tokens of the row that the module has seen already. */
  readonly past: number;
}

// After a guess that was right the module catches up on two tokens, else on one.
const keptTokens = 2;

interface BoundDraft {
  readonly binding: Binding;
  readonly main: DeviceTensor<"float32">;
  readonly next: DeviceTensor<"int64">;
  readonly positions: DeviceTensor<"int64">;
  readonly last: DeviceTensor<"int32">;
  readonly longest: DeviceTensor<"int32">;
  readonly out: DeviceTensor<"float32">;
  readonly dispose: () => void;
}

/**
 * DeepSeek-V3's next-token module as a guesser (section 2.2, inference): from the main model's outputs it guesses the token that
 * will follow the next. It has a cache of its own, and keeps the main model's outputs of every row, so that it can catch up on
 * tokens that were computed while nobody guessed.
 */
export class DraftHead {
  /** The main model's outputs, [max_num_seqs, 1, max_model_len, hidden]. */
  readonly outputs: DeviceTensor<"float32">;
  /** As a layer's cache. */
  readonly keys: DeviceTensor<"float32">;
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  readonly #options: DraftOptions;
  #program: Promise<Program> | null = null;
  /** Of the row that was guessed for last, and its parameters, by the number of tokens. */
  readonly #kept = new Map<number, BoundDraft>();
  #keptFor: { readonly parameters: ModelParameters; readonly row: number } | null = null;

  /** @throws LongjingError "unsupported" for a model without the module */
  constructor(backend: Backend, config: ModelConfig, options: DraftOptions) {
    if (config.model_type !== "deepseek_v3" || config.num_nextn_predict_layers < 1)
      throw new LongjingError("unsupported", "The model has no module that predicts the token after next", { got: config.model_type, expected: "deepseek_v3 with num_nextn_predict_layers" });
    const { max_num_seqs, max_model_len } = options;
    const { heads, width } = cacheShape(config);
    this.#backend = backend;
    this.#config = config;
    this.#options = options;
    this.outputs = backend.tensor("float32", [max_num_seqs, 1, max_model_len, config.hidden_size]);
    this.keys = backend.tensor("float32", [max_num_seqs, heads, max_model_len, width]);
  }

  /** Logits of the token after the last of `tokens`, [vocabulary]: row `i` of the module sees output i and token i + 1. */
  async run(parameters: ModelParameters, { row, tokens, past }: DraftRequest, blocking: boolean): Promise<Float32Array> {
    const { max_model_len } = this.#options;
    const { hidden_size } = this.#config;
    const total = tokens.length - 1;
    const count = total - past;
    const used = this.#used(parameters);
    const program = await (this.#program ??= this.#compile(used));
    const keeps = count <= keptTokens;
    const { binding, main, next, positions, last, longest, out, dispose } = keeps ? this.#keep(program, parameters, row, count) : this.#bind(program, used, row, count);
    const at = row * max_model_len;
    main.data.set(this.outputs.data.subarray((at + past) * hidden_size, (at + total) * hidden_size));
    for (let t = 0; t < count; t++) {
      next.data[t] = BigInt(tokens[past + 1 + t]!);
      positions.data[t] = BigInt(past + t);
    }
    last.data[0] = total - 1;
    longest.data[0] = total;
    try {
      await runBinding(binding, blocking);
      return out.data;
    } finally {
      if (!keeps) dispose();
    }
  }

  /** The binding for so many tokens of a row, made once while that row is the only one to be guessed for. */
  #keep(program: Program, parameters: ModelParameters, row: number, count: number): BoundDraft {
    if (this.#keptFor?.row !== row || this.#keptFor.parameters !== parameters) this.#dropKept();
    this.#keptFor = { parameters, row };
    let bound = this.#kept.get(count);
    if (!bound) this.#kept.set(count, (bound = this.#bind(program, this.#used(parameters), row, count)));
    return bound;
  }

  #dropKept(): void {
    for (const bound of this.#kept.values()) bound.dispose();
    this.#kept.clear();
  }

  #bind(program: Program, used: ModelParameters, row: number, count: number): BoundDraft {
    const [on, { max_model_len }] = [this.#backend, this.#options];
    const { hidden_size, vocab_size } = this.#config;
    const { heads, width } = cacheShape(this.#config);
    const lane = heads * max_model_len * width;
    const key = on.tensorOver("float32", [1, heads, max_model_len, width], this.keys.data.subarray(row * lane, (row + 1) * lane));
    const inputs = {
      main: on.tensor("float32", [count, hidden_size]),
      next: on.tensor("int64", [count]),
      positions: on.tensor("int64", [1, count]),
      last: on.tensor("int32", [1]),
      longest: on.tensor("int32", []),
      pick: on.tensorOver("int64", [1], BigInt64Array.of(BigInt(count - 1))),
    };
    const out = on.tensor("float32", [1, vocab_size]);
    const binding = program.bind({ parameters: tensorsOf(used), key, ...inputs }, { logits: out, present: { key, value: key } });
    const dispose = (): void => {
      binding.dispose();
      for (const tensor of [key, out, ...Object.values(inputs)]) tensor.dispose();
    };
    return { binding, ...inputs, out, dispose };
  }

  async dispose(): Promise<void> {
    this.#dropKept();
    (await this.#program)?.dispose();
    this.outputs.dispose();
    this.keys.dispose();
  }

  /** The module's own parameters, which stand behind the last layer, the embedding and the head. */
  #used(parameters: ModelParameters): ModelParameters {
    const own = `model.layers.${this.#config.num_hidden_layers}.`;
    return Object.fromEntries(Object.entries(parameters).filter(([name]) => name.startsWith(own) || name === "model.embed_tokens.weight" || name === "lm_head.weight"));
  }

  #compile(parameters: ModelParameters): Promise<Program> {
    const config = this.#config;
    const { frozen = {}, max_model_len, session } = this.#options;
    const { heads, width } = cacheShape(config);
    const float = (...shape: TensorType["shape"]): TensorType => ({ shape, dtype: "float32" });
    const types = {
      frozen: typesOf(frozen),
      parameters: typesOf(parameters),
      key: float("batch", heads, max_model_len, width),
      main: float("rows", config.hidden_size),
      next: tokenType,
      ...placeTypes,
    };
    return compile(
      this.#backend,
      (v) => {
        const all = allValues(frozen, parameters, v);
        const cache = new Array<Value>(config.num_hidden_layers + 1).fill(v.key);
        const context = stepContext(config, max_model_len, v, { keys: cache, values: cache });
        const hidden = tokenAfterNextHidden(config, all, v.main, v.next, context);
        return { logits: logits(config, all, gather(hidden, v.pick)), present: { key: context.present.keys.at(-1)!, value: context.present.values.at(-1)! } };
      },
      types,
      { ...session, frozen: { frozen: tensorsOf(frozen) } },
    );
  }
}
