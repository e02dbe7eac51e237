import type { TensorType, Value } from "./value.ts";

/** Nested plain objects and arrays of leaves: how parameters, optimiser state and caches are held. */
export type Tree<T> = T | readonly Tree<T>[] | { readonly [key: string]: Tree<T> };

/** The tree of values that stands for a tree of types while a function is traced. */
export type Symbolic<I> = I extends TensorType ? Value : { readonly [K in keyof I]: Symbolic<I[K]> };

/** Leaves with their paths joined by "/", in key order of the objects as written. */
export function leaves<T>(tree: Tree<T>, isLeaf: (x: unknown) => x is T, path = ""): [string, T][] {
  if (isLeaf(tree)) return [[path, tree]];
  return Object.entries(tree).flatMap(([key, child]) => leaves(child as Tree<T>, isLeaf, path === "" ? key : `${path}/${key}`));
}

/** Replaces each leaf by `f(leaf, path)`. The result has the tree's own shape. */
export function mapTree<From, To>(tree: Tree<From>, isLeaf: (x: unknown) => x is From, f: (leaf: From, path: string) => To, path = ""): Tree<To> {
  if (isLeaf(tree)) return f(tree, path);
  const below = (key: string): string => (path === "" ? key : `${path}/${key}`);
  if (Array.isArray(tree)) return tree.map((child: Tree<From>, i) => mapTree(child, isLeaf, f, below(String(i))));
  return Object.fromEntries(Object.entries(tree).map(([key, child]) => [key, mapTree(child as Tree<From>, isLeaf, f, below(key))]));
}
