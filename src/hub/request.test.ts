import { expect, test } from "vitest";
import { redirected } from "./request.ts";

const from = new URL("https://hub.example/org/name/resolve/main/x");

test.each(["https://storage.example/x?s=1", "/y", "y", "//storage.example/x"])("a redirect from https to %s stays there", (location) => expect(redirected(from, location).protocol).toBe("https:"));

test.each(["http://hub.example/x", "http://127.0.0.1/x", "ftp://hub.example/x", "file:///x", "https://user@hub.example/x"])("a redirect from https to %s is refused", (location) =>
  expect(() => redirected(from, location)).toThrow(expect.objectContaining({ code: "bad_file" })),
);
