/**
 * Python that runs a program and says as JSON how it ended. It takes from the interpreter's reach what pyodide put there to reach
 * JavaScript. A program can find its way to this code and change it: then it lies about itself, to somebody who knows what is right.
 */
export const harness = `
import asyncio, atexit, gc, sys, time, types
from json import loads
from json.encoder import c_make_encoder, encode_basestring_ascii as quoted

def unknown(value):
    raise TypeError(f"{type(value).__name__} is not JSON")

encode = c_make_encoder({}, unknown, quoted, None, ": ", ", ", False, False, False)
compiled, executed, evaluated, modules = compile, exec, eval, sys.modules

class Waiting:
    def select(self, seconds):
        if seconds: time.sleep(seconds)
        return ()

class Loop(asyncio.BaseEventLoop):
    """Waits for the clock alone, and in place: there are no sockets and no other threads."""
    def __init__(self):
        super().__init__()
        self._selector = Waiting()
    def _process_events(self, events): pass
    def _write_to_self(self): pass

class Policy(asyncio.events._BaseDefaultEventLoopPolicy):
    _loop_factory = Loop

def described(error):
    try:
        return quoted(f"{type(error).__name__}: {error}"[:300])
    except BaseException:
        return '"thrown"'

def ending(status, result=None, message="null"):
    return '{"status": "%s", "result": %s, "message": %s}' % (status, "null" if result is None else quoted(result), message)

full = ending("memory")

def finish():
    """What Python does when it ends."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.__stdout__.flush()
    except BaseException:
        pass

def run(source, call, output):
    result = None
    module = types.ModuleType("__main__" if call is None else "program")
    try:
        wanted = None if call is None else loads(call)
        modules[module.__name__] = module
        executed(compiled(source, "program.py", "exec", 0, True), module.__dict__)
        if wanted is not None:
            value = evaluated(wanted["name"], module.__dict__)(*wanted["arguments"])
            if type(value) is types.CoroutineType:
                value = asyncio.run(value)
            result = "".join(encode(value, 0))
    except MemoryError:
        # There is room for nothing: what was made before is given.
        return full
    except BaseException as error:
        finish()
        if type(error) is SystemExit and call is None and error.code in (None, 0):
            return ending("done")
        return ending("error", None, described(error))
    finish()
    return ending("done", result) if result is None or len(result) <= output else ending("output")

def hide():
    hidden = {"js", "pyodide", "pyodide_js", "_pyodide", "_pyodide_core"}
    for name in [name for name in modules if name.split(".")[0] in hidden]:
        names = modules[name].__dict__ if type(modules[name]) is types.ModuleType else {}
        for key in [key for key, value in names.items() if type(value).__name__ == "JsProxy" or key == "run_js"]:
            del names[key]
        for finder in sys.meta_path:
            getattr(finder, "jsproxies", {}).clear()
        modules[name] = None
    for name in hidden: modules[name] = None
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith("_frozen_importlib")]
    sys.path[:] = [path for path in sys.path if path]
    sys.excepthook = sys.__excepthook__
    asyncio.run, time.sleep = asyncio.runners.run, time.sleep.__wrapped__
    asyncio.events._set_running_loop(None)
    asyncio.events._set_event_loop_policy(Policy())

hide()
gc.collect()
# What is frozen is not found among the collector's objects.
gc.freeze()
`;
