import type { Meter } from "./meter.ts";
import type { Models } from "./models.ts";
import type { ModelRegistry } from "./registry.ts";

/** The models of a registry as routes see them: held until the request ends, their engines metered for it. */
export function meteredModels(registry: ModelRegistry, meter: Meter): Models {
  return {
    list: () => registry.list(),
    async find(name, c) {
      const scope = c.get("scope");
      const { model, release } = await registry.acquire(name);
      scope.onEnd(release);
      scope.model = model.id;
      return { ...model, engine: meter.engine(model.engine, scope, model.id) };
    },
  };
}
