"""Runs inside an environment that has llama-cpp-python, which Bastide itself does not: one model.

    python worker.py JOB.json

Nothing of Bastide is imported: this file is handed to the engine's own Python. It reads a job and
prints one JSON object a line, each after MARK, so that the engine's own chatter can be told apart.
Actions: "probe" (how fast the engine's kernels are on this machine), "measure" (memory and speed of
a model), "ask" (answers of a chat model), "embed" (vectors of texts).
"""

from __future__ import annotations

# ruff: noqa: ANN401, FBT003, PLC0415, T201 - foreign values, imports once the folder is right, a protocol
# on standard output
import atexit
import ctypes
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MARK = "@bastide "
AMX_PLUGIN = "libggml-cpu-sapphirerapids.so"
clock = time.perf_counter


def tell(event: str, **values: Any) -> None:
    """Print one event."""
    print(MARK + json.dumps({"event": event, **values}), flush=True)


def load_engine() -> Any:
    """Import the engine from a folder of its CPU plug-ins: it looks for them where it is started.

    As on hosts, the plug-in that uses AMX is left out (docs/adr/0021).
    """
    from importlib.util import find_spec

    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        tell("failed", what="this Python has no llama_cpp")
        sys.exit(3)
    folder = Path(tempfile.mkdtemp(prefix="bastide-backends-"))
    for plugin in (Path(spec.origin).parent / "lib").glob("libggml-cpu-*.so"):
        if plugin.name != AMX_PLUGIN:
            (folder / plugin.name).symlink_to(plugin)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chdir(folder)
    import llama_cpp  # type: ignore[import-not-found]

    return llama_cpp


def memory() -> dict[str, int]:
    """Return this process's resident and proportional memory in bytes."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            found[words[0].rstrip(":").lower()] = int(words[1]) * 1024
    return {"rss": found["rss"], "pss": found["pss"]}


# --- how fast the kernels are ------------------------------------------------------------------
class Kernels:
    """ggml's operations on tensors of our choice, timed.

    Args:
        folder: Where the engine's libraries are.
        threads: Threads to use. With one, its CPU time is taken, which other programs on the
            machine do not lengthen; with more, elapsed time.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.all = ctypes.CDLL(str(folder / "libggml.so"), mode=ctypes.RTLD_GLOBAL)
        self.clock = time.thread_time if threads == 1 else clock
        self.pointer: Any = ctypes.c_void_p
        self._declare()
        self.all.ggml_backend_load_all()
        self.backend = self.all.ggml_backend_init_by_type(0, None)  # 0: CPU
        device = self.base.ggml_backend_get_device(self.backend)
        registry = self.base.ggml_backend_dev_backend_reg(device)
        name = b"ggml_backend_set_n_threads"
        address = self.base.ggml_backend_reg_get_proc_address(registry, name)
        ctypes.CFUNCTYPE(None, self.pointer, ctypes.c_int)(address)(self.backend, threads)

    def _declare(self) -> None:
        p, i64, i32, f32 = self.pointer, ctypes.c_int64, ctypes.c_int, ctypes.c_float

        class Init(ctypes.Structure):
            _fields_ = [
                ("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("dry", ctypes.c_bool)
            ]  # fmt: skip

        self.settings = Init(16 << 20, None, True)
        for library, name, result, arguments in (
            (self.base, "ggml_init", p, [Init]),
            (self.base, "ggml_free", None, [p]),
            (self.base, "ggml_new_tensor_2d", p, [p, i32, i64, i64]),
            (self.base, "ggml_new_tensor_3d", p, [p, i32, i64, i64, i64]),
            (self.base, "ggml_mul_mat", p, [p, p, p]),
            (self.base, "ggml_add", p, [p, p, p]),
            (self.base, "ggml_mul", p, [p, p, p]),
            (self.base, "ggml_silu", p, [p, p]),
            (self.base, "ggml_rms_norm", p, [p, p, f32]),
            (self.base, "ggml_flash_attn_ext", p, [p, p, p, p, p, f32, f32, f32]),
            (self.base, "ggml_new_graph_custom", p, [p, ctypes.c_size_t, ctypes.c_bool]),
            (self.base, "ggml_build_forward_expand", None, [p, p]),
            (self.base, "ggml_nbytes", ctypes.c_size_t, [p]),
            (self.base, "ggml_backend_alloc_ctx_tensors", p, [p, p]),
            (self.base, "ggml_backend_buffer_clear", None, [p, ctypes.c_uint8]),
            (self.base, "ggml_backend_buffer_free", None, [p]),
            (self.base, "ggml_backend_graph_compute", i32, [p, p]),
            (self.base, "ggml_backend_get_device", p, [p]),
            (self.base, "ggml_backend_dev_backend_reg", p, [p]),
            (self.base, "ggml_backend_reg_get_proc_address", p, [p, ctypes.c_char_p]),
            (self.all, "ggml_backend_load_all", None, []),
            (self.all, "ggml_backend_init_by_type", p, [i32, ctypes.c_char_p]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments

    def run(self, build: Any, seconds: float = 0.4) -> float:
        """Return the median seconds of one computation of the graph that ``build`` makes."""
        context = self.base.ggml_init(self.settings)
        graph = self.base.ggml_new_graph_custom(context, 4096, False)
        for tensor in build(context):
            self.base.ggml_build_forward_expand(graph, tensor)
        buffer = self.base.ggml_backend_alloc_ctx_tensors(context, self.backend)
        self.base.ggml_backend_buffer_clear(buffer, 0)
        self.base.ggml_backend_graph_compute(self.backend, graph)
        times: list[float] = []
        until = clock() + seconds
        while clock() < until or len(times) < 5:
            start = self.clock()
            self.base.ggml_backend_graph_compute(self.backend, graph)
            times.append(self.clock() - start)
        self.base.ggml_backend_buffer_free(buffer)
        self.base.ggml_free(context)
        return sorted(times)[len(times) // 2]

    def multiply(
        self, kind: int, columns: int, rows: int, count: int, tokens: int
    ) -> tuple[float, float]:
        """Return (bytes of weights, floating point operations) a second of ``count`` products."""
        size = 0

        def build(context: Any) -> Any:
            nonlocal size
            size = 0
            x = self.base.ggml_new_tensor_2d(context, 0, columns, tokens)
            for _ in range(count):
                weights = self.base.ggml_new_tensor_2d(context, kind, columns, rows)
                size += self.base.ggml_nbytes(weights)
                yield self.base.ggml_mul_mat(context, weights, x)

        seconds = self.run(build)
        return size / seconds, 2 * columns * rows * count * tokens / seconds

    def attention(self, width: int, heads: int, tokens: int, past: int) -> float:
        """Return floating point operations a second of attention over ``past`` positions."""

        def build(context: Any) -> Any:
            q = self.base.ggml_new_tensor_3d(context, 0, width, tokens, heads)
            k = self.base.ggml_new_tensor_3d(context, 1, width, past, heads)
            v = self.base.ggml_new_tensor_3d(context, 1, width, past, heads)
            yield self.base.ggml_flash_attn_ext(context, q, k, v, None, 0.125, 0.0, 0.0)

        return 4 * width * tokens * past * heads / self.run(build)

    def step(self) -> float:
        """Return the seconds that one small operation takes, such as adding 1024 numbers."""

        def build(context: Any) -> Any:
            y = x = self.base.ggml_new_tensor_2d(context, 0, 1024, 1)
            for _ in range(1000):
                y = self.base.ggml_add(context, y, x)
            yield y

        return self.run(build) / 1000

    def element(self) -> float:
        """Return the seconds that a number takes through norm, gate and sum of a layer."""

        def build(context: Any) -> Any:
            x = self.base.ggml_new_tensor_2d(context, 0, 1536, 256)
            y = self.base.ggml_mul(context, self.base.ggml_rms_norm(context, x, 1e-6), x)
            y = self.base.ggml_mul(context, self.base.ggml_silu(context, y), x)
            yield self.base.ggml_add(context, y, x)

        return self.run(build) / (1536 * 256)


def probe(job: Any) -> None:
    """Time the kernels of each weight type in ``job["types"]`` (name → ggml's number).

    Decode: matrices of 1024 x 2048 that together are larger than any cache, times one vector.
    Prefill: the same, times 256 vectors.
    """
    llama_cpp = load_engine()
    kernels = Kernels(Path.cwd(), job["threads"])
    decode, prefill = {}, {}
    for name, kind in job["types"].items():
        decode[name], _ = kernels.multiply(kind, 1024, 2048, 64, 1)
        _, prefill[name] = kernels.multiply(kind, 1024, 2048, 3, 256)
        tell("step", done=name)
    tell(
        "probed",
        decode=decode,
        prefill=prefill,
        attention_prefill=kernels.attention(64, 8, 256, 256),
        attention_decode=kernels.attention(64, 8, 1, 256),
        step_seconds=kernels.step(),
        element_seconds=kernels.element(),
        engine=llama_cpp.__version__,
        load=os.getloadavg()[0],
    )


# --- memory and speed of one model -------------------------------------------------------------
class Loaded:
    """A model in memory, with the settings that a site's server uses."""

    def __init__(self, job: Any) -> None:
        self.lib = lib = load_engine()
        self.quiet = lib.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self.quiet, None)
        lib.llama_backend_init()
        tell("memory", when="process", **memory())
        model = lib.llama_model_default_params()
        model.n_gpu_layers, model.use_mmap, model.use_mlock = 0, True, False
        self.model = lib.llama_model_load_from_file(job["model"].encode(), model)
        if not self.model:
            tell("failed", what="the engine cannot load this file")
            sys.exit(3)
        tell("memory", when="weights", **memory())
        self.embedding = job["embedding"]
        self.batch_size = min(512, job["n_ctx"])
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = job["n_ctx"], job["parallel"]
        settings.n_batch = settings.n_ubatch = self.batch_size
        settings.kv_unified, settings.embeddings = job["unified"], self.embedding
        settings.type_k = settings.type_v = job["cache_kind"]
        settings.n_threads = settings.n_threads_batch = job["threads"]
        self.clock = time.thread_time if job["threads"] == 1 else clock
        self.context = lib.llama_init_from_model(self.model, settings)
        if not self.context:
            tell("failed", what="the engine cannot make a context of this size")
            sys.exit(3)
        self.words = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.batch = lib.llama_batch_init(self.batch_size, 0, job["parallel"])
        tell("memory", when="context", **memory())

    def feed(self, sequence: int, position: int, count: int) -> float:
        """Run ``count`` tokens of a sequence from ``position`` on; return the seconds taken."""
        batch = self.batch
        batch.n_tokens = count
        for index in range(count):
            place = position + index
            batch.token[index] = 100 + (place * 7919 + sequence * 104729) % (self.words - 200)
            batch.pos[index], batch.n_seq_id[index] = place, 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = self.embedding or index == count - 1
        start = self.clock()
        code = self.lib.llama_decode(self.context, batch)
        self.lib.llama_synchronize(self.context)
        if code:
            tell("failed", what=f"the engine answers {code} to a batch of {count} tokens")
            sys.exit(3)
        return self.clock() - start


def measure(job: Any) -> None:
    """Fill every sequence, then time prompts and single tokens; tell memory at each stage."""
    loaded = Loaded(job)
    each = job["n_ctx"] // job["parallel"]
    filled = each - (0 if loaded.embedding else 40)
    size = min(loaded.batch_size, filled)
    for sequence in range(job["parallel"]):
        for position in range(0, filled - size + 1, size):
            loaded.feed(sequence, position, size)
    tell("memory", when="filled", **memory())
    if not job["speed"]:
        return
    prompts, singles = [], []
    lib, prompt = loaded.lib, min(256, size)
    for _ in range(job["runs"]):
        if not loaded.embedding:
            lib.llama_memory_clear(lib.llama_get_memory(loaded.context), True)
        prompts.append(prompt / loaded.feed(0, 0, prompt))
        tokens = 0 if loaded.embedding else 24
        singles += [loaded.feed(0, prompt + step, 1) for step in range(tokens)]
    decode = 1 / sorted(singles)[len(singles) // 2] if singles else None
    prefill = sorted(prompts)[len(prompts) // 2]
    tell("speed", decode=decode, prefill=prefill, prompt=prompt, load=os.getloadavg()[0])


# --- answers and vectors -----------------------------------------------------------------------
def ask(job: Any) -> None:
    """Answer each of ``job["questions"]`` (id, prompt, max_tokens), one after the other."""
    lib = load_engine()
    model = lib.Llama(
        model_path=job["model"], n_ctx=job["n_ctx"], n_threads=job["threads"],
        n_threads_batch=job["threads"], seed=job["seed"], verbose=False,
    )  # fmt: skip
    template = "tokenizer.chat_template" in model.metadata
    tell("ready", template=template, **memory())
    for question in job["questions"]:
        start, first, text, tokens = clock(), None, "", 0
        settings = {
            "temperature": 0.0, "seed": job["seed"], "max_tokens": question["max_tokens"],
            "stream": True,
        }  # fmt: skip
        try:
            if template:
                said = [{"role": "user", "content": question["prompt"]}]
                parts = model.create_chat_completion(said, **settings)
            else:  # a base model: it goes on where the text ends
                stops = ["\nQuestion:", "\n\n"]
                plain = question["prompt"] + "\nAnswer:"
                parts = model.create_completion(plain, stop=stops, **settings)
            for part in parts:
                choice = part["choices"][0]
                piece = choice["delta"].get("content") if template else choice["text"]
                if piece:
                    first = first or clock() - start
                    text, tokens = text + piece, tokens + 1
        except (ValueError, RuntimeError) as error:
            tell("refused", id=question["id"], what=str(error))
            continue
        seconds = clock() - start
        tell(
            "answer", id=question["id"], text=text, tokens=tokens, seconds=seconds,
            first_seconds=first if first is not None else seconds,
        )  # fmt: skip
    tell("done", **memory())


def embed(job: Any) -> None:
    """Turn each of ``job["texts"]`` (id, text) into a vector."""
    lib = load_engine()
    model = lib.Llama(
        model_path=job["model"], n_ctx=job["n_ctx"], n_batch=job["n_ctx"], n_ubatch=job["n_ctx"],
        n_threads=job["threads"], n_threads_batch=job["threads"], embedding=True, verbose=False,
    )  # fmt: skip
    tell("ready", **memory())
    for text in job["texts"]:
        start = clock()
        try:
            vector = model.embed(text["text"], normalize=True, truncate=True)
        except (ValueError, RuntimeError) as error:
            tell("refused", id=text["id"], what=str(error))
            continue
        tokens = len(model.tokenize(text["text"].encode()))
        tell("vector", id=text["id"], vector=vector, tokens=tokens, seconds=clock() - start)
    tell("done", **memory())


if __name__ == "__main__":
    JOB = json.loads(Path(sys.argv[1]).read_text())
    {"probe": probe, "measure": measure, "ask": ask, "embed": embed}[JOB["action"]](JOB)
