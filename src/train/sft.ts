import { base, type BaseOptions } from "./base.ts";
import type { Stage } from "./stage.ts";

/** Names are those of `base`. */
export type SftOptions = Pick<BaseOptions, "name" | "steps" | "buckets" | "schedule" | "optimizer" | "max_grad_norm" | "document">;

/**
 * Supervised fine-tuning on completions, a row for each document so that none sees another (DeepSeek-V3, section 5.1). Routers
 * keep the bias that pretraining has left them; a module that predicts ahead goes on learning with the weight of its last phase.
 */
export const sft = ({ name = "sft", ...options }: SftOptions): Stage => base({ ...options, name, mtp_loss_weight: () => 0.1, bias_update_speed: 0, sequence_balance_coef: 0 });
