import type { Model } from "./api.ts";

/** Which models answer, and how a program asks them. */
export function Models({ models }: { readonly models: readonly Model[] | null }) {
  const served = models?.find(({ path }) => path === undefined);
  const id = served?.id ?? "MODEL";
  return (
    <div class="column">
      <h1>Models</h1>
      {models?.length === 0 && <p class="muted">No model is loaded. Train one on the <a href="#train">Train page</a>, or start with <code>longjing serve FOLDER</code>.</p>}
      <ul class="cards">
        {models?.map((model) => (
          <li class="card" key={model.id}>
            <h2>{model.id}</h2>
            <p class="muted">{model.max_model_len.toLocaleString("en")} tokens of context{model.path === undefined ? "" : ", in this browser: no program can ask it"}</p>
          </li>
        ))}
      </ul>
      <h2>From a program</h2>
      <p>Every model of the server speaks the chat completions format of OpenAI and DeepSeek: point any client at <code>{location.origin}/v1</code>. The thinking comes apart from the answer, in <code>reasoning_content</code>.</p>
      <pre class="code"><code>{`curl ${location.origin}/v1/chat/completions \\
  -H 'content-type: application/json' \\
  -d '{"model": "${id}", "stream": true,
       "messages": [{"role": "user", "content": "…"}]}'`}</code></pre>
      <pre class="code"><code>{`import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${location.origin}/v1", apiKey: "none" });
const completion = await client.chat.completions.create({
  model: "${id}",
  messages: [{ role: "user", content: "…" }],
});`}</code></pre>
    </div>
  );
}
