"""``bastide models evaluate`` from end to end with an engine of our own making: real processes,
real files, a kill in the middle. Only the model's mind is false."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bastide.cli.main import main

pytestmark = pytest.mark.integration

ENGINE = """
import json, os, signal
from pathlib import Path
__version__ = "0.0.1"
HERE = Path(__file__).parent
class Llama:
    def __init__(self, model_path, **settings):
        if "broken" in model_path:
            raise SystemExit("this engine does not know the architecture")
        self.metadata = {} if "base" in model_path else {"tokenizer.chat_template": "x"}
    def _say(self, text):
        log = HERE / "asked"
        log.write_text((log.read_text() if log.exists() else "") + text.splitlines()[-1] + "\\n")
        fuse = HERE / "fuse"
        if fuse.exists() and len(log.read_text().splitlines()) > int(fuse.read_text()):
            os.kill(os.getpid(), signal.SIGKILL)
        if "too long" in text:
            raise ValueError("exceeds the context")
        yield "Paris" if "capital" in text else "I do not know"
        yield "."
    def create_chat_completion(self, messages, **settings):
        assert settings["temperature"] == 0.0
        for piece in self._say(messages[0]["content"]):
            yield {"choices": [{"delta": {"content": piece}}]}
    def create_completion(self, prompt, **settings):
        assert prompt.endswith("Answer:")
        for piece in self._say(prompt.removesuffix("\\nAnswer:")):
            yield {"choices": [{"text": piece}]}
    def embed(self, text, **settings):
        words = ["paris", "know", "sea"]
        return [float(text.lower().count(word)) + 0.01 for word in words]
    def tokenize(self, text):
        return text.split()
"""
WRAPPER = """#!{python}
import runpy, sys
sys.path.insert(0, {folder!r})
words = [word for word in sys.argv[1:] if word not in ("-I", "-B")]
if words[0] == "-c":
    exec(words[1])
else:
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""
SUITE: dict[str, Any] = {
    "name": "own",
    "title": "Own",
    "corpus": "c.jsonl",
    "questions": [
        {
            "id": "one",
            "question": "The capital?",
            "expect": {"kind": "exact", "answers": ["Paris"]},
        },
        {"id": "two", "question": "The menu?", "expect": {"kind": "refusal"}},
        {"id": "three", "question": "capital", "expect": {"kind": "similar", "to": "Paris"}},
        {"id": "four", "question": "A too long text", "expect": {"kind": "refusal"}},
    ],
    "retrieval": {"questions": "r.jsonl", "at": 1},
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    package = tmp_path / "engine" / "llama_cpp"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text(ENGINE)
    python = tmp_path / "python"
    python.write_text(WRAPPER.format(python=sys.executable, folder=str(tmp_path / "engine")))
    python.chmod(0o755)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SUITE))
    passages = [{"id": "a", "text": "Paris."}, {"id": "b", "text": "The sea."}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, passages)))
    questions = [
        {"id": "s1", "question": "Where is paris?", "passage": "a"},
        {"id": "s2", "question": "paris", "passage": "b"},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, questions)))
    for name in ("chat", "base", "broken", "vectors"):
        model(tmp_path / f"{name}.gguf", embedding=name == "vectors")
    return tmp_path


def model(path: Path, *, embedding: bool) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_embedding_length(32)
    writer.add_context_length(2048)
    if embedding:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(here: Path, *models: str, more: tuple[str, ...] = ()) -> Any:
    files = [str(here / f"{name}.gguf") for name in models]
    words = ["models", "evaluate", *files, "--suite", str(here / "own.yaml"), "--python",
             str(here / "python"), "--results", str(here / "results"), *more]  # fmt: skip
    return CliRunner().invoke(main, words)


def result(done: Any) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["result"]


def test_side_by_side(here: Path) -> None:
    more = ("--embedder", str(here / "vectors.gguf"), "--json")
    chat, base, vectors = result(run(here, "chat", "base", "vectors", more=more))["outcomes"]
    assert (chat["good"], chat["judged"], chat["not_judged"]) == (3, 4, 0)
    assert chat["by_kind"] == {"exact": [1, 1], "refusal": [1, 2], "similar": [1, 1]}
    assert "exceeds the context" in chat["answers"][3]["judgement"]["why"]
    assert chat["chat_template"]
    assert not base["chat_template"]
    assert chat["memory"] > 1_000_000
    assert vectors["retrieved"]["missed"] == ["s2"]
    assert vectors["retrieved"]["hit_rate"] == 0.5
    assert vectors["retrieved"]["mean_reciprocal_rank"] == 0.75
    shown = run(here, "chat", "vectors", more=more[:2]).output
    assert "3 of 4" in shown
    assert "MRR 0.75" in shown
    assert "base" not in shown


def test_without_an_embedding_model_meaning_is_not_judged(here: Path) -> None:
    (chat,) = result(run(here, "chat", more=("--json",)))["outcomes"]
    assert (chat["good"], chat["judged"], chat["not_judged"]) == (2, 3, 1)


def test_a_killed_run_goes_on_where_it_was(here: Path) -> None:
    package = here / "engine" / "llama_cpp"
    (package / "fuse").write_text("2")
    died = run(here, "chat")
    assert died.exit_code == 7
    assert "BAS-7020" in died.output
    (journal,) = (here / "results").glob("*.jsonl")
    with journal.open("a") as file:
        file.write('{"event": "answer", "id": "three", "te')  # a line that the kill cut off
    (package / "fuse").unlink()
    (package / "asked").unlink()
    (chat,) = result(run(here, "chat", more=("--json",)))["outcomes"]
    assert chat["resumed"] == 2
    assert [answer["id"] for answer in chat["answers"]] == ["one", "two", "three", "four"]
    assert len((package / "asked").read_text().splitlines()) == 2
    (again,) = result(run(here, "chat", more=("--json",)))["outcomes"]
    assert again["resumed"] == 4


def test_results_of_another_suite_are_not_taken_up(here: Path) -> None:
    run(here, "chat")
    changed = {**SUITE, "instruction": "Answer."}
    (here / "own.yaml").write_text(yaml.safe_dump(changed))
    (chat,) = result(run(here, "chat", more=("--json",)))["outcomes"]
    assert chat["resumed"] == 0


@pytest.mark.parametrize(
    ("models", "more", "exit_code", "code"),
    [
        (("broken",), (), 7, "BAS-7020"),
        (("nowhere",), (), 2, "BAS-2057"),
        (("chat",), ("--embedder", "chat.gguf"), 2, "BAS-2057"),
        (("chat",), ("--python", "/bin/false"), 2, "BAS-2055"),
        (("chat",), ("--suite", "nothing"), 2, "BAS-2056"),
    ],
)
def test_mistakes_get_clear_errors(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: tuple[str, ...],
    more: tuple[str, ...],
    exit_code: int,
    code: str,
) -> None:
    monkeypatch.chdir(here)
    done = run(here, *models, more=more)
    assert done.exit_code == exit_code, done.output
    assert code in done.output
    assert "what to do:" in done.output
    assert "Traceback" not in done.output


def test_no_engine_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASTIDE_ENGINE_PYTHON", raising=False)
    done = CliRunner().invoke(main, ["models", "evaluate", str(here / "chat.gguf")])
    assert done.exit_code == 2
    assert "BAS-2055" in done.output
    assert "docs/evaluation.md" in done.output


def test_a_card_without_a_file_and_a_file_that_is_no_model(here: Path) -> None:
    done = CliRunner().invoke(main, ["models", "evaluate", "mixtral-8x7b-instruct"])
    assert "BAS-2057" in done.output
    (here / "page.gguf").write_text("<html>")
    assert "BAS-2057" in run(here, "page").output
