import { expect, test } from "vitest";
import { add, graphOf, input, matmul, reshape, type Graph } from "../tensor/index.ts";
import { onnxPieces, toOnnx } from "./lower.ts";
import { join } from "./protobuf.ts";

function layer(): Graph {
  const [x, w, bias] = [input("x", ["rows", 4]), input("w", [4, 3]), input("bias", [3])];
  const y = add(matmul(x, w), bias);
  return graphOf([["x", x], ["w", w], ["bias", bias]], [["y", reshape(y, [1, "rows", 3])], ["again", y]]);
}

test("the pieces of a model are the model", () => {
  const graph = layer();
  expect(join(onnxPieces(graph, "cpu", new Map([["w", { location: "weights" }]])))).toEqual(toOnnx(graph, "cpu", { frozen: new Map([["w", "weights"]]) }));
});

test("what is stored in a model is not copied", () => {
  const stored = new Map([["w", new Uint8Array(48)], ["bias", new Uint8Array(12)]]);
  const pieces = onnxPieces(layer(), "webgpu", stored);
  for (const data of stored.values()) expect(pieces.some((piece) => piece === data)).toBe(true);
});
