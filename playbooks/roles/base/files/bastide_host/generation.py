"""A generation: immutable code, configuration and model set, built beside the live one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from bastide_host.bytecode import compile_python
from bastide_host.facts import current_number, tree_files
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    run,
    sha256_of,
    tail,
    write_atomic,
)
from bastide_host.stage import blobs_of

AMX_PLUGIN = "libggml-cpu-sapphirerapids.so"


def extract_tree(archive: Path, target: Path) -> dict[str, str]:
    """Unpack a rendered tree and return the SHA-256 of its files by path.

    Only plain files and folders with relative paths are taken: nothing can land elsewhere.

    Raises:
        AgentError: It has any other member.
    """
    found = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                raise AgentError(
                    "BAS-6058", f"the tree has a member that it may not: {member.name}"
                )
            place = target / path
            if member.isdir():
                place.mkdir(mode=0o755, parents=True, exist_ok=True)
                continue
            stream = tar.extractfile(member)
            content = stream.read() if stream else b""
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.write_bytes(content)
            place.chmod(member.mode & 0o755)
            found[str(path)] = hashlib.sha256(content).hexdigest()
    return found


def uv_binary(paths: Paths, wheel: Path, sha256: str) -> Path:
    """Return the ``uv`` program out of its wheel, unpacked once into ``/opt/bastide/bin``."""
    path = paths.opt / "bin" / f"uv-{sha256[:12]}"
    if not path.exists():
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if re.search(r"\.data/scripts/uv$", n)]
            if len(names) != 1:
                raise AgentError("BAS-6057", f"{wheel.name} is not a wheel of uv")
            write_atomic(path, archive.read(names[0]), 0o755)
    return path


def _uv(paths: Paths, binary: Path, *arguments: str) -> None:
    env = {
        "UV_CACHE_DIR": str(paths.opt / "cache"),
        "UV_LINK_MODE": "hardlink",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    done = run([str(binary), *arguments], env=env, timeout=1800)
    if done.returncode != 0:
        raise AgentError(
            "BAS-6057",
            f"building the Python environment failed (uv {' '.join(arguments[:2])}):\n{tail(done)}",
            "the bundle lacks a wheel for this host, or the disk is full: see the lines above",
        )


def build_environment(paths: Paths, description: JsonObject, target: Path) -> None:
    """Make ``target/venv`` from the staged wheels, without a network and without pip."""
    sources = {blob.sha256: blob.destination for blob in blobs_of(paths, description)}
    binary = uv_binary(paths, sources[description["uv"]["sha256"]], description["uv"]["sha256"])
    # The wheels under the names that say what they are, each in a folder named by its digest. uv
    # knows a wheel again by its path and links what it has unpacked before: so the path is the same
    # for every generation, and another one for other bytes of the same name.
    farm = paths.opt / "cache" / "bastide-wheels"
    shutil.rmtree(farm, ignore_errors=True)
    links: list[str] = []
    for each in description["wheels"]:
        place = farm / each["sha256"]
        place.mkdir(parents=True)
        (place / each["filename"]).symlink_to(sources[each["sha256"]])
        links += ["--find-links", str(place)]
    requirements = target / "requirements.txt"
    requirements.write_text("\n".join(description["requirements"]) + "\n", encoding="utf-8")
    python = paths.at("/usr/bin/python3")
    _uv(paths, binary, "venv", "--quiet", "--python", str(python), str(target / "venv"))
    interpreter = str(target / "venv/bin/python")
    options = ["--offline", "--no-index", *links, "--python", interpreter]
    _uv(paths, binary, "pip", "install", "--quiet", *options, "-r", str(requirements))
    (target / "venv/.lock").unlink(missing_ok=True)  # uv leaves it writable by everyone
    shutil.rmtree(farm)


def link_backends(target: Path) -> None:
    """Make ``backends``, a folder of links to llama.cpp's CPU plug-ins, if there are any.

    llama.cpp looks for them in its working directory, which the units set to this folder, and
    takes the best. The one that uses AMX is left out: as Debian 12's compiler builds it, every
    request dies of an illegal instruction though the start went well (docs/adr/0021).
    """
    for plugin in sorted((target / "venv").glob("lib/python3*/site-packages/**/libggml-cpu-*.so")):
        if plugin.name != AMX_PLUGIN:
            (target / "backends").mkdir(exist_ok=True)
            link = target / "backends" / plugin.name
            link.symlink_to(Path("..") / plugin.relative_to(target))


def _copy_programs(programs: list[JsonObject], sources: dict[str, Path], target: Path) -> None:
    """Put executables into ``bin``; each is looked at once more, for it is about to run."""
    for program in programs:
        blob = sources[program["sha256"]]
        if sha256_of(blob) != program["sha256"]:
            raise AgentError("BAS-6053", f"{blob} was damaged since it came", "remove it and apply")
        (target / "bin").mkdir(exist_ok=True)
        place = target / "bin" / program["filename"]
        shutil.copyfile(blob, place)
        place.chmod(0o755)


def _fill(paths: Paths, description: JsonObject, target: Path) -> dict[str, str]:
    """Build everything of a generation but its ``generation.json``; return its tree's digests."""
    sources = {blob.sha256: blob.destination for blob in blobs_of(paths, description)}
    archive = sources[description["tree"]["sha256"]]
    if sha256_of(archive) != description["tree"]["sha256"]:
        raise AgentError("BAS-6053", f"{archive} was damaged since it came", "remove it and apply")
    files = extract_tree(archive, target)
    (target / "models").mkdir()
    for model in description["models"]:
        place = paths.state / "models" / f"{model['sha256']}.gguf"
        (target / "models" / f"{model['name']}.gguf").symlink_to(place)
    (target / "lib").mkdir(exist_ok=True)
    for source in description["sources"]:
        shutil.copyfile(sources[source["sha256"]], target / "lib" / source["filename"])
    _copy_programs(description.get("programs", []), sources, target)
    if description["wheels"]:
        build_environment(paths, description, target)
        link_backends(target)
        compile_python(paths, target)
    return files


def generation(paths: Paths, description: JsonObject) -> JsonObject:
    """Build generation ``n`` beside the live one, or repair its configuration files.

    ``generation.json`` is written last and only after everything is on the disk: a folder without
    it is a leftover of a cut-off run and is built anew.

    Raises:
        AgentError: It cannot be built, or would replace another generation that is live.
    """
    number = int(description["generation"])
    target = paths.generations / str(number)
    record = read_json(target / "generation.json")
    if record and record.get("digest") == description["digest"]:
        drifted = _repair(paths, description, target, record)
        live = current_number(paths) == number and not drifted
        return {"changed": bool(drifted), "generation": number, "live": live}
    if current_number(paths) == number:
        raise AgentError(
            "BAS-6064",
            f"generation {number} is live and differs from the plan's",
            "make a new plan: bastide plan",
        )
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(mode=0o755, parents=True)
    files = _fill(paths, description, target)
    run(["sync", "-f", str(target)])  # the whole tree, in one go, before the mark that it is good
    record = _record(number, description, files)
    write_atomic(target / "generation.json", (json.dumps(record, indent=2) + "\n").encode())
    fsync_directory(paths.generations)
    return {"changed": True, "generation": number, "live": False}


def _record(number: int, description: JsonObject, files: dict[str, str]) -> JsonObject:
    """Return a generation's ``generation.json``: what it is made of."""
    return {
        "format": "bastide.generation/1",
        "number": number,
        "digest": description["digest"],
        "release": description["release"],
        "bundle": description["bundle"],
        "tree": description["tree"]["sha256"],
        "files": files,
        "contents": description.get("contents", {}),
        "models": description["models"],
        "requirements": description["requirements"],
        "wheels": {each["filename"]: each["sha256"] for each in description["wheels"]},
        "sources": {each["filename"]: each["sha256"] for each in description["sources"]},
        "programs": {each["filename"]: each["sha256"] for each in description.get("programs", [])},
        "os_packages": description["os_packages"],
        "units": description["units"],
    }


def drift(target: Path, record: JsonObject) -> list[str]:
    """Return the configuration files that differ from what the generation was built with."""
    wanted = record.get("files", {})
    found = tree_files(target, wanted)
    return sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))


def _repair(paths: Paths, description: JsonObject, target: Path, record: JsonObject) -> list[str]:
    """Put back configuration files that differ from what the generation was built with."""
    differing = drift(target, record)
    if differing:
        for path in set(differing) - set(record["files"]):
            (target / path).unlink()
        archives = [b for b in blobs_of(paths, description) if b.sha256 == record["tree"]]
        extract_tree(archives[0].destination, target)
        run(["sync", "-f", str(target)])
    return differing
