"""Every way in which a component would ask the internet, and what turns it off. Pure data.

``docs/isolation.md`` has the same table; a test holds both, and the rendered files, together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Switch:
    """One way out, closed.

    Args:
        component: Whose.
        would: What it would do.
        file: Which rendered file has the switch; ``unit`` stands for all that run Python.
        text: What stands there.
        source: Where the component's makers describe it.
        absent: Whether it is closed by ``text`` not standing there.
    """

    component: str
    would: str
    file: str
    text: str
    source: str
    absent: bool = False


_HUB = "https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables"
_QDRANT = "https://qdrant.tech/documentation/guides/configuration/"
_SERVER = "https://github.com/abetlen/llama-cpp-python (examples/server/server.py of the sdist)"
SWITCHES = (
    Switch("Qdrant", "report usage to its makers", "etc/vectordb.yaml",
           "telemetry_disabled: true", "https://qdrant.tech/documentation/guides/telemetry/"),
    Switch("Qdrant", "the same, had it no configuration", "unit",
           "QDRANT__TELEMETRY_DISABLED=true",
           "https://qdrant.tech/documentation/guides/telemetry/"),
    Switch("Qdrant", "fetch a snapshot from a URL that a client names", "etc/vectordb.yaml",
           "enable_snapshot_url_recovery: false", _QDRANT),
    Switch("Qdrant", "serve a dashboard with parts from elsewhere", "etc/vectordb.yaml",
           "enable_static_content: false", _QDRANT),
    Switch("llama.cpp", "fetch a model that is not there", "unit", "LLAMA_ARG_OFFLINE=1",
           "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"),
    Switch("llama-cpp-python", "fetch images and sounds from URLs in a request", "etc/llm.json",
           '"mtmd"', _SERVER, absent=True),
    Switch("Hugging Face Hub", "fetch files on first use", "unit", "HF_HUB_OFFLINE=1", _HUB),
    Switch("Hugging Face Hub", "report usage to its makers", "unit",
           "HF_HUB_DISABLE_TELEMETRY=1", _HUB),
    Switch("Transformers", "look for models and newer files", "unit", "TRANSFORMERS_OFFLINE=1",
           "https://huggingface.co/docs/transformers/installation#offline-mode"),
    Switch("Datasets", "look for data sets and newer files", "unit", "HF_DATASETS_OFFLINE=1",
           "https://huggingface.co/docs/datasets/loading#offline"),
    Switch("any library that honours it", "report usage to its makers", "unit", "DO_NOT_TRACK=1",
           "https://consoledonottrack.com"),
    Switch("pip", "look for packages on the index", "unit", "PIP_NO_INDEX=1",
           "https://pip.pypa.io/en/stable/topics/configuration/"),
    Switch("pip", "look for a newer pip", "unit", "PIP_DISABLE_PIP_VERSION_CHECK=1",
           "https://pip.pypa.io/en/stable/topics/configuration/"),
    Switch("uv", "look for packages and interpreters", "unit", "UV_OFFLINE=1",
           "https://docs.astral.sh/uv/reference/environment/"),
    Switch("HAProxy", "ask a name server for its servers' addresses", "etc/haproxy.cfg",
           "resolvers", "https://docs.haproxy.org/2.6/configuration.html#5.3", absent=True),
)  # fmt: skip
