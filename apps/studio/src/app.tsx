import { useEffect, useState } from "preact/hooks";
import { ApiError, get, saveKey, type Model } from "./api.ts";
import { localModels } from "./browser/local.ts";
import { Chat } from "./chat.tsx";
import { LeafIcon, ThemeIcon } from "./icons.tsx";
import { Models } from "./models.tsx";
import { applyTheme, nextTheme, savedTheme } from "./theme.ts";
import { Train } from "./train.tsx";

const pages = { chat: "Chat", train: "Train", models: "Models" } as const;
type Page = keyof typeof pages;

function currentPage(): Page {
  const name = location.hash.slice(1).split("/")[0] ?? "";
  return name in pages ? (name as Page) : "chat";
}

export function App() {
  const [page, setPage] = useState<Page>(currentPage);
  const [models, setModels] = useState<readonly Model[] | null>(null);
  const [error, setError] = useState<unknown>(null);

  const load = () => {
    setError(null);
    void localModels().then((local) =>
      get<Model[]>("/api/models").then(
        (served) => setModels([...served, ...local.filter(({ id }) => !served.some((model) => model.id === id))]),
        // Without a server the page runs what lies beside it.
        (reason: unknown) => (local.length > 0 && !(reason instanceof ApiError && reason.status === 401) ? setModels(local) : setError(reason)),
      ),
    );
  };
  useEffect(load, []);
  useEffect(() => {
    const turn = () => setPage(currentPage());
    addEventListener("hashchange", turn);
    return () => removeEventListener("hashchange", turn);
  }, []);
  useEffect(() => {
    document.title = `${pages[page]} · Longjing Studio`;
  }, [page]);

  if (error instanceof ApiError && error.status === 401) return <KeyForm onKey={load} />;
  return (
    <>
      <Header page={page} />
      {error !== null && <p class="notice bad" role="alert">{error instanceof ApiError ? error.message : "The server cannot be reached."} <button class="link" onClick={load}>Try again</button></p>}
      {/* Chat and Train stay alive behind each other: an answer goes on while the run is watched. */}
      <main class="page chat-page" hidden={page !== "chat"}><Chat models={models} /></main>
      <main class="page" hidden={page !== "train"}><Train visible={page === "train"} /></main>
      <main class="page" hidden={page !== "models"}><Models models={models} /></main>
    </>
  );
}

function Header({ page }: { readonly page: Page }) {
  const [theme, setTheme] = useState(savedTheme);
  useEffect(() => applyTheme(theme), [theme]);
  return (
    <header class="bar">
      <a class="brand" href="#chat" aria-label="Longjing Studio"><LeafIcon /><span>Longjing</span><span class="hanzi" lang="zh">龙井</span></a>
      <nav aria-label="Pages">
        {Object.entries(pages).map(([name, title]) => <a key={name} href={`#${name}`} aria-current={name === page ? "page" : undefined}>{title}</a>)}
      </nav>
      <button class="quiet" onClick={() => setTheme(nextTheme(theme))} aria-label={`Colours: ${theme}`} title={`Colours: ${theme}`}><ThemeIcon /></button>
    </header>
  );
}

function KeyForm({ onKey }: { readonly onKey: () => void }) {
  const [key, setKey] = useState("");
  return (
    <form class="key-form" onSubmit={(event) => { event.preventDefault(); saveKey(key); onKey(); }}>
      <LeafIcon />
      <label>This server asks for its key<input type="password" value={key} onInput={(event) => setKey(event.currentTarget.value)} autofocus /></label>
      <button class="primary">Continue</button>
    </form>
  );
}
