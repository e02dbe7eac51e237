/**
 * JavaScript of the realm that pyodide runs in, which has the language alone and no `eval`. It makes what pyodide needs beside that, of
 * functions of its own: nothing of the process that made the realm can be reached through them. Pyodide takes the realm for a shell of
 * JavaScript (`read`, `load`), and Emscripten for a worker.
 */
export const realm = `"use strict";
(file, read, print, complain, end, memory) => {
  const { now } = Date;
  const nothing = () => undefined;
  const stop = (status, message = null) => end(JSON.stringify({ status, result: null, message }));
  const bytesOf = (name) => {
    const bytes = new Uint8Array(file(name));
    file(name, bytes);
    return bytes;
  };
  /** Undefined until the program begins; then its call, or null. */
  let called;
  /** Answers what an interpreter could not answer itself. */
  const broken = ({ name, type, status }) => {
    if (type === "MemoryError") stop("memory");
    else if (name !== "Exit") stop("error", "The interpreter broke: " + name);
    else if (status === 0 && called === null) stop("done");
    else stop("error", "exit " + status);
  };
  const error = (what) => {
    complain(String(what));
    // Said before pyodide prints where it was, which is no output of the program's.
    if (called !== undefined && what?.pyodide_fatal_error) broken(what);
  };
  Object.assign(globalThis, {
    console: { log: nothing, info: nothing, debug: nothing, warn: (what) => complain(String(what)), error },
    read: nothing,
    load: nothing,
    readbuffer: (path) => bytesOf(path.slice(path.lastIndexOf("/") + 1)),
    WorkerGlobalScope: class {},
    navigator: { userAgent: "" },
    performance: { now: () => now() },
    // Nothing is called later: Python waits by itself.
    setTimeout: () => 0,
    clearTimeout: nothing,
    // From the process's seed: equal programs do equal things.
    crypto: {
      getRandomValues: (bytes) => {
        for (let i = 0; i < bytes.length; i++) bytes[i] = Math.random() * 256;
        return bytes;
      },
    },
  });
  /** What text of ASCII needs. Emscripten, which would use them for any text, is not to find them when it starts. */
  const coders = {
    TextDecoder: class {
      decode(bytes) {
        let text = "";
        for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
        return text;
      }
    },
    TextEncoder: class {
      encodeInto(text, into) {
        for (let i = 0; i < text.length; i++) into[i] = text.charCodeAt(i);
        return { read: text.length, written: text.length };
      }
    },
  };
  /** What the program writes to its files stays in memory, outside of Python's own. */
  const boundFiles = (FS) => {
    const { write, doTruncate } = FS;
    let held = 0;
    const hold = (bytes) => {
      held += Math.max(0, bytes);
      if (held > memory) stop("memory");
    };
    FS.write = (stream, buffer, offset, length, position, canOwn) => {
      const { node, flags } = stream;
      if (FS.isFile(node.mode)) hold((flags & 1024 ? node.usedBytes : (position ?? stream.position)) + length - node.usedBytes);
      else if (!FS.isChrdev(node.mode)) hold(length);
      return write(stream, buffer, offset, length, position, canOwn);
    };
    FS.doTruncate = (stream, node, length) => {
      hold(length - node.usedBytes);
      return doTruncate(stream, node, length);
    };
  };
  return (loadPyodide, create, lockFileContents) => {
    const load = (options) =>
      loadPyodide({
        indexURL: "/",
        packageBaseUrl: "/",
        createPyodideModule: async (settings) => {
          const module = await create(settings);
          Object.assign(globalThis, coders);
          return module;
        },
        lockFileContents,
        jsglobals: Object.create(null),
        env: { HOME: "/home/program", PYTHONHASHSEED: "0" },
        ...options,
      });
    const make = async () => (await load({ _makeSnapshot: true })).makeMemorySnapshot();
    const start = async (harness) => {
      const pyodide = await load({ _loadSnapshot: bytesOf("snapshot") });
      delete pyodide._api.config._loadSnapshot;
      pyodide.setStdin({ read: (bytes) => read(bytes), isatty: false });
      pyodide.setStdout({ write: (bytes) => (print(bytes), bytes.length), isatty: false });
      pyodide.setStderr({ write: (bytes) => bytes.length, isatty: false });
      boundFiles(pyodide.FS);
      const names = pyodide.toPy({});
      pyodide.runPython(harness, { globals: names });
      const run = names.get("run");
      // No code is made any more, of Python's either.
      for (const name of Object.getOwnPropertyNames(WebAssembly)) if (!/Error|Exception|Tag/.test(name)) delete WebAssembly[name];
      return (source, call, seconds, output) => {
        const last = now() + seconds * 1000;
        // Python looks here every few steps: whether it is to be interrupted.
        pyodide.setInterruptBuffer({ get 0() { return now() > last ? stop("time") : 0; }, set 0(_) {} });
        called = call ?? null;
        try {
          end(run(source, call, output));
        } catch (error) {
          broken(error);
        }
      };
    };
    return { make, start };
  };
}`;
