import { writeSync } from "node:fs";
import { createApp, listen, openAccounts } from "../src/serve/index.ts";
import { fakeModel } from "./fake-model.ts";

/** A metered server without weights, to be killed: `node metering-child.ts DATABASE`; says its address once it listens. */
const accounts = await openAccounts(process.argv[2] ?? "");
const app = createApp({ models: [fakeModel({ delayMs: 1, cached: 2 })], accounts });
const { url } = await listen(app, { port: 0 });
writeSync(1, `${url}\n`);
