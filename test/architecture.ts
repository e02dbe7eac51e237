import { posix } from "node:path";
import { parseSync, Visitor, type ESTree } from "vite";

/** What docs/architecture.md allows. */
export interface Architecture {
  /** For each folder, by the name that rows use (`src/nn/` is "nn"), what it may import. */
  readonly layers: ReadonlyMap<string, readonly string[]>;
  /** Folders (ending in "/") and files that may touch the world outside. */
  readonly rim: readonly string[];
}

export interface SourceFile {
  /** From the root, with "/". */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** `node:` modules and globals by which the file reaches files, network, processes, timers or the clock. */
  readonly effects: readonly string[];
  /** What no file may contain. */
  readonly offences: readonly string[];
}

export interface Import {
  readonly specifier: string;
  /** Gone when the file runs. */
  readonly erased: boolean;
}

export type Graph = ReadonlyMap<string, readonly string[]>;

/** The two tables of docs/architecture.md. */
export function readArchitecture(markdown: string): Architecture {
  const layers = new Map<string, readonly string[]>();
  const rim: string[] = [];
  let columns = 0;
  for (const line of markdown.split("\n")) {
    if (line.startsWith("|---")) columns = line.split("|").length - 2;
    const [, path = "", cells = ""] = /^\| `([^`]+)` \|(.*)\|$/.exec(line) ?? [];
    if (path === "") continue;
    if (columns === 2) rim.push(path);
    else layers.set(layerOf(path), cells.slice(cells.lastIndexOf("|") + 1).split(",").map((name) => name.trim()).filter((name) => name !== "–"));
  }
  return { layers, rim };
}

/** `src/tensor/ops/matmul.ts` is in "tensor", `apps/studio/src/main.tsx` in "studio", `recipes/x.ts` in "recipes". */
export function layerOf(path: string): string {
  const [top = "", next = top] = path.split("/");
  return top === "src" || top === "apps" ? next : top;
}

const isTest = (path: string): boolean => path.endsWith(".test.ts");

const worldGlobals = new Set(["process", "fetch", "WebSocket", "XMLHttpRequest", "performance", "Date", "setTimeout", "setInterval"]);

/** Parses one file. */
export function readSource(path: string, text: string): SourceFile {
  const { program, comments, errors } = parseSync(path, text);
  if (errors.length > 0) throw new SyntaxError(`${path}: ${errors[0]?.message}`);
  const imports: Import[] = [];
  const effects: string[] = [];
  const offences = comments.filter(({ value }) => /@ts-(ignore|nocheck)/.test(value)).map(() => "@ts-ignore");
  const from = (source: ESTree.Expression | null, erased: boolean): void => {
    if (source?.type !== "Literal" || typeof source.value !== "string") return;
    imports.push({ specifier: source.value, erased });
    if (source.value.startsWith("node:") && !erased) effects.push(source.value);
  };
  const names = new Set<ESTree.Node>(); // of properties and types, which are no variables
  new Visitor({
    ImportDeclaration: ({ source, importKind }) => from(source, importKind === "type"),
    ExportNamedDeclaration: ({ source, exportKind }) => from(source, exportKind === "type"),
    ExportAllDeclaration: ({ source, exportKind }) => {
      from(source, exportKind === "type");
      offences.push("export *");
    },
    ImportExpression: ({ source }) => from(source, false),
    TSImportType: ({ source }) => from(source, true),
    ExportDefaultDeclaration: () => void offences.push("export default"),
    TSAnyKeyword: () => void offences.push("any"),
    TSEnumDeclaration: () => void offences.push("enum"),
    MemberExpression: ({ object, property, computed }) => {
      if (!computed) names.add(property);
      if (object.type === "Identifier" && object.name === "Math" && property.type === "Identifier" && property.name === "random") offences.push("Math.random");
    },
    Property: ({ key, computed, shorthand }) => void (computed || shorthand || names.add(key)),
    PropertyDefinition: ({ key }) => void names.add(key),
    MethodDefinition: ({ key }) => void names.add(key),
    TSPropertySignature: ({ key }) => void names.add(key),
    TSMethodSignature: ({ key }) => void names.add(key),
    TSTypeReference: ({ typeName }) => void names.add(typeName),
    Identifier: (node) => {
      if (names.has(node)) return;
      if (node.name === "console") offences.push("console");
      if (worldGlobals.has(node.name)) effects.push(node.name);
    },
  }).visit(program);
  return { path, lines: text.trimEnd().split("\n").length, imports, effects, offences };
}

/** Files of ours that an import stands for. */
function targets(path: string, specifier: string): string[] {
  if (specifier === "#ort") return ["src/runtime/node.ts", "src/runtime/web.ts"];
  if (specifier === "longjing" || specifier.startsWith("longjing/")) return ["longjing/"];
  return specifier.startsWith(".") ? [posix.join(posix.dirname(path), specifier)] : [];
}

/** Imports that leave their folder for one that its row does not name. Unit tests may also use test/ and the manifest. */
export function forbiddenEdges({ layers }: Architecture, files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, imports }) => {
    const layer = layerOf(path);
    const row = layers.get(layer);
    if (row === undefined) return [`${path}: no row for ${layer}`];
    const allowed = new Set([layer, ...row, ...(path.startsWith("src/") ? (layers.get("*") ?? []) : []), ...(isTest(path) ? ["test", "package.json"] : [])]);
    return imports
      .flatMap(({ specifier }) => targets(path, specifier))
      .filter((target) => !allowed.has(layerOf(target)) && !(allowed.has("all") && target.startsWith("src/")))
      .map((target) => `${path} imports ${target}; ${layer} may import ${[...allowed].slice(1).join(", ") || "nothing"}`);
  });
}

/** Which file waits for which when it is loaded. */
export function loadGraph(files: readonly SourceFile[]): Graph {
  return new Map(files.map(({ path, imports }) => [path, imports.filter(({ erased }) => !erased).flatMap(({ specifier }) => targets(path, specifier))]));
}

/** Some cycle, first node repeated at the end; undefined without one. */
export function findCycle(graph: Graph): string[] | undefined {
  const finished = new Set<string>();
  const path: string[] = [];
  const visit = (node: string): string[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (finished.has(node)) return undefined;
    path.push(node);
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    path.pop();
    finished.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node);
    if (cycle) return cycle;
  }
  return undefined;
}

/** Effects of files that the rim does not name. Tests may do as they like. */
export function effectsInside({ rim }: Architecture, files: readonly SourceFile[]): string[] {
  const inRim = (path: string): boolean => rim.some((place) => (place.endsWith("/") ? path.startsWith(place) : path === place));
  return files.filter(({ path }) => !isTest(path) && !inRim(path)).flatMap(({ path, effects }) => [...new Set(effects)].map((effect) => `${path} uses ${effect}`));
}

const mostLines = 400;

/** What is against the house rules in a file, wherever it stands. */
export function brokenRules(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, lines, offences }) => [
    ...[...new Set(offences)].map((offence) => `${path} has ${offence}`),
    ...(lines > mostLines ? [`${path} has ${lines} lines, more than ${mostLines}`] : []),
    ...(/(^|\/)(utils?|helpers)(\/|\.)/.test(path) ? [`${path}: a name that says what is in it`] : []),
  ]);
}
