import { add, constant, customVjp, log, logSoftmax, matmul, maximum, mul, neg, putAlong, reshape, scatterAdd, softmax, sub, sum, sumAll, takeAlong, vjp, zeros, type Value } from "../tensor/index.ts";
import { sizeOf } from "../tensor/op.ts";
import { embedding, linear } from "./linear.ts";

// The smallest normal float32: log-probabilities are floored at −87.3, where the softmax would underflow to −infinity.
const smallest = 1.1754944e-38;

// In widths of a row: up to here two passes over the probabilities cost less than a scatter of rows, which one thread does.
const smallVocabulary = 3;

/**
 * Natural-log probability of each target under softmax(hidden · tableᵀ): hidden [rows, dim], table [vocabulary, dim], targets
 * [rows] int64 → [rows, 1], floored at −87.3. Also the probabilities [rows, vocabulary], which carry no gradient.
 *
 * The gradient of the logits, g (onehot − P) with weights g per row, is never formed: the weights go to the narrower operand of each
 * product, so that the same code serves cross-entropy and policy gradients. Nor is onehot − P, unless the vocabulary is small: its
 * one-hot part is a gather or a scatter of rows, and the other a product with P itself.
 */
export function tokenLogprobs(hidden: Value, table: Value, targets: Value): { logprobs: Value; probabilities: Value } {
  const rows = sizeOf(hidden.shape[0], "tokenLogprobs");
  const scores = linear(hidden, table);
  const probabilities = softmax(scores);
  const [logprobs] = customVjp(
    [hidden, table],
    () => [log(maximum(takeAlong(probabilities, reshape(targets, [rows, 1])), smallest))],
    ([ct]) => {
      const weighed = mul(hidden, ct!);
      if (sizeOf(table.shape[0], "tokenLogprobs") <= smallVocabulary * sizeOf(table.shape[1], "tokenLogprobs")) {
        const column = reshape(targets, [rows, 1]);
        const difference = sub(putAlong(probabilities, column, constant(new Float32Array(rows).fill(1), [rows, 1])), probabilities);
        return [mul(matmul(difference, table), ct!), matmul(difference, weighed, { transA: true })];
      }
      const [expected] = vjp([[scores, probabilities]], [hidden]);
      const dHidden = mul(sub(embedding(table, targets), expected!), ct!);
      const dTable = add(matmul(probabilities, weighed, { transA: true, alpha: -1 }), scatterAdd(zeros(table.shape), targets, weighed));
      return [dHidden, dTable];
    },
  );
  return { logprobs: logprobs!, probabilities };
}

/** Entropy in nats of each row of probabilities [rows, vocabulary] → [rows, 1]. For reports: it is not on the gradient's path. */
export const entropy = (probabilities: Value): Value => neg(sum(mul(probabilities, log(maximum(probabilities, smallest))), [-1]));

/** −Σ weight · logprob over rows [rows, 1]: cross-entropy when the weights are 1 / (number of targets). */
export const weightedNll = (logprobs: Value, weights: Value): Value => neg(sumAll(mul(logprobs, weights)));

/** The same log-probabilities from logits [rows, vocabulary], the plain way: what `tokenLogprobs` is tested against. */
export const logprobsFromLogits = (logits: Value, targets: Value): Value => takeAlong(logSoftmax(logits), reshape(targets, [sizeOf(logits.shape[0], "logprobsFromLogits"), 1]));
