"""The recipe of the portable llama-cpp-python wheel: libraries for every x86-64, one file each.

The package index has no wheel, only an sdist whose default build fits the builder's CPU and dies
of SIGILL on an older one. This recipe builds llama.cpp with its CPU back ends as plug-ins and puts
them beside ``libggml.so`` in ``llama_cpp/lib``. llama.cpp looks for plug-ins in the program's own
folder and in the working directory, so a process that uses the wheel runs in ``llama_cpp/lib``.

What upstream's build makes and hosts never run is not built: half of the CPU variants, the
command-line tools, tests, examples, the web interface and llama.cpp's ``common`` library.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bastide.errors import BundleError
from bastide.host.process import run, stream
from bastide.progress import Progress
from bastide.sources.wheelfile import WheelName, write_wheel

RECIPE = "llama-cpp-python/1"

# Which CPU gets which: x64 any, haswell AVX2 (2013), skylakex AVX-512, icelake + VNNI,
# zen4 + BF16, alderlake AVX-VNNI without AVX-512, sapphirerapids AMX; sse42 for masked VMs.
VARIANTS = (
    "x64", "sse42", "haswell", "skylakex", "icelake", "zen4", "alderlake", "sapphirerapids",
)  # fmt: skip
SKIPPED = ("sandybridge", "ivybridge", "piledriver", "cannonlake", "cascadelake", "cooperlake")

LIBRARIES = (
    "libggml-base.so", "libggml.so", "libllama.so", "libmtmd.so",
    *(f"libggml-cpu-{variant}.so" for variant in VARIANTS),
)  # fmt: skip

# SOURCE_DATE_EPOCH makes ggml switch SIMD off by default; with GGML_NATIVE and the variants'
# features all explicit, its default is never asked for.
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "CMAKE_PLATFORM_NO_VERSIONED_SONAME=ON",  # a wheel has no symbolic links: one file a library
    "CMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "CMAKE_INSTALL_RPATH=$ORIGIN",
    "CMAKE_SHARED_LINKER_FLAGS=-s -Wl,--build-id=none",
    "CMAKE_MODULE_LINKER_FLAGS=-s -Wl,--build-id=none",
    "BUILD_SHARED_LIBS=ON",
    "GGML_NATIVE=OFF",
    "GGML_BACKEND_DL=ON",
    "GGML_CPU_ALL_VARIANTS=ON",
    "GGML_CCACHE=OFF",
    "GGML_OPENMP=ON",
    "LLAMA_BUILD_COMMON=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_TOOLS=OFF",
    "LLAMA_BUILD_SERVER=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_BUILD_WEBUI=OFF",
    "LLAMA_BUILD_APP=OFF",
    "LLAMA_BUILD_MTMD=ON",  # the server's script imports its bindings
    "LLAMA_CURL=OFF",
    "LLAMA_OPENSSL=OFF",
    "MTMD_VIDEO=OFF",  # it would start ffmpeg
)


@dataclass(frozen=True)
class Toolchain:
    """The programs that build the wheel.

    Args:
        compiler: The C++ compiler's name and major version, such as ``g++ 12``.
        glibc: The C library's version that the result may come to need.
        machine: ``x86_64``.
    """

    compiler: str
    glibc: str
    machine: str


def toolchain() -> Toolchain:
    """Return this machine's tools.

    Raises:
        BundleError: There is no C++ compiler.
    """
    if not shutil.which("g++"):
        raise BundleError(
            "there is no C++ compiler on this machine; the LLM engine is built from source",
            code="BAS-3021",
            hint="install it: apt-get install gcc g++",
        )
    major = run(["g++", "-dumpversion"]).stdout.strip().split(".")[0]
    glibc = platform.libc_ver()[1]
    return Toolchain(compiler=f"g++ {major}", glibc=glibc, machine=platform.machine())


def content_key(sdist_sha256: str, tools: Toolchain) -> str:
    """Return the digest of everything that the wheel's bytes depend on."""
    recipe = [RECIPE, sdist_sha256, tools.compiler, tools.machine, OPTIONS, VARIANTS]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def without_skipped_variants(cmake: str) -> str:
    """Return ggml's ``CMakeLists.txt`` without the x86 variants that are not shipped.

    Raises:
        BundleError: The file's x86 variants are not exactly those that this recipe knows.
    """
    found = set(re.findall(r"ggml_add_cpu_backend_variant\((\w+)", _x86_part(cmake)))
    if found != set(VARIANTS) | set(SKIPPED):
        difference = ", ".join(sorted(found ^ (set(VARIANTS) | set(SKIPPED))))
        raise BundleError(
            f"llama.cpp's CPU variants have changed ({difference})",
            code="BAS-3022",
            hint="review VARIANTS and SKIPPED in sources/llama_wheel.py for this version",
        )
    pattern = rf"^[ \t]*ggml_add_cpu_backend_variant\((?:{'|'.join(SKIPPED)})\b[^)\n]*\)[ \t]*\n"
    return re.sub(pattern, "", cmake, flags=re.MULTILINE)


def _x86_part(cmake: str) -> str:
    start = cmake.find('GGML_SYSTEM_ARCH STREQUAL "x86"', cmake.find("if (GGML_CPU_ALL_VARIANTS)"))
    end = cmake.find("elseif", start)
    return cmake[start:end] if 0 <= start < end else ""


def build_wheel(sdist: Path, folder: Path, progress: Progress, *, glibc: str) -> Path:
    """Build the wheel from ``sdist`` and return its path in ``folder``.

    Args:
        sdist: The pinned ``llama_cpp_python-<version>.tar.gz``.
        folder: Where to put the wheel; it must exist.
        progress: Told each compiled file.
        glibc: The target's C library version; the result must not need a newer one.

    Raises:
        BundleError: The recipe does not fit this sdist, or the result does not fit the target.
        ProcessError: A tool failed; the message holds its last words.
    """
    with tempfile.TemporaryDirectory(prefix="bastide-llama-") as scratch:
        source = _unpack(sdist, Path(scratch) / "source")
        build = Path(scratch) / "build"
        _compile(source, build, progress)
        progress.note(f"the built engine says: {prove(build / 'bin')}")
        return _assemble(source, build / "bin", folder, glibc=glibc)


def _unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, members=filter(_harmless, archive))  # noqa: S202 - filtered
    (source,) = folder.iterdir()
    lists = source / "vendor/llama.cpp/ggml/src/CMakeLists.txt"
    lists.write_text(without_skipped_variants(lists.read_text()))
    return source


def _harmless(member: tarfile.TarInfo) -> bool:
    """Tell whether ``member`` is a plain file or folder inside (3.11.2 lacks ``filter=``)."""
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and (member.isreg() or member.isdir())


def _compile(source: Path, build: Path, progress: Progress) -> None:
    flags = f"-w -ffile-prefix-map={source}=. -ffile-prefix-map={build}=build"
    tools = str(Path(sys.executable).parent)
    environment = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "SOURCE_DATE_EPOCH": "315532800",
        "CMAKE_GENERATOR": "Ninja",
        "LC_ALL": "C.UTF-8",
    }
    for variable in ("CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_ARGS"):
        environment[variable] = ""
    options = [f"-D{option}" for option in OPTIONS]
    options += [f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}"]
    llama = source / "vendor/llama.cpp"
    run(["cmake", "-S", str(llama), "-B", str(build), *options], env=environment)
    jobs = str(len(os.sched_getaffinity(0)))
    command = ["cmake", "--build", str(build), "-j", jobs, "--target", "llama", "ggml", "mtmd"]
    with progress.task("compile the LLM engine", unit="steps") as task:

        def follow(line: str) -> None:
            if step := re.match(r"\[(\d+)/(\d+)\] (.*)", line):
                task.advance(1)
                task.describe(f"{step[1]} of {step[2]}: {PurePosixPath(step[3]).name}")

        stream(command, follow, env=environment)


_PROOF = """
import ctypes
ggml, llama = ctypes.CDLL("./libggml.so"), ctypes.CDLL("./libllama.so")
ggml.ggml_backend_load_all()
ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
llama.llama_print_system_info.restype = ctypes.c_char_p
print(ggml.ggml_backend_dev_count(), llama.llama_print_system_info().decode())
"""


def prove(libraries: Path) -> str:
    """Return what the built engine says of itself, run as hosts run it: in its own folder.

    Raises:
        BundleError: It finds no CPU back end, or does not use the SIMD that this machine has.
        ProcessError: It does not even load.
    """
    devices, _, features = run([sys.executable, "-c", _PROOF], cwd=libraries).stdout.partition(" ")
    has_avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
    if devices == "0" or (has_avx2 and "AVX2 = 1" not in features):
        raise BundleError(
            f"the built engine does not use this CPU: {devices} devices, {features.strip()!r}",
            code="BAS-3022",
            hint="a changed llama.cpp looks for its back ends elsewhere: review llama_wheel.py",
        )
    return features.strip()


def _assemble(source: Path, libraries: Path, folder: Path, *, glibc: str) -> Path:
    files = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in sorted((source / "llama_cpp").rglob("*"))
        if path.is_file() and path.suffix in (".py", ".typed")
    }
    for library in LIBRARIES:
        files[f"llama_cpp/lib/{library}"] = (libraries / library).read_bytes()
    metadata = (source / "PKG-INFO").read_bytes()
    version = re.search(rb"^Version: (\S+)$", metadata, re.MULTILINE)
    if version is None:
        raise BundleError("the sdist's PKG-INFO states no version", code="BAS-3022")
    name = WheelName("llama_cpp_python", version[1].decode(), "py3-none-linux_x86_64")
    files[f"{name.dist_info}/licenses/LICENSE.md"] = (source / "LICENSE.md").read_bytes()
    files[f"{name.dist_info}/licenses/LICENSE.llama.cpp"] = (
        source / "vendor/llama.cpp/LICENSE"
    ).read_bytes()
    path = folder / name.filename
    write_wheel(path, name, files, metadata=metadata)
    require_glibc(path, glibc)
    return path


def require_glibc(wheel: Path, glibc: str) -> None:
    """Refuse a wheel whose libraries need a newer C library than ``glibc``, the target's.

    Raises:
        BundleError: One does.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                _check_glibc(PurePosixPath(name).name, archive.read(name), glibc)


def _check_glibc(library: str, content: bytes, glibc: str) -> None:
    needed = [
        (int(major), int(minor)) for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", content)
    ]
    most = max(needed, default=(0, 0))
    if most > tuple(int(part) for part in glibc.split(".")):
        raise BundleError(
            f"{library} was built against glibc {most[0]}.{most[1]}; the target has {glibc}",
            code="BAS-3023",
            hint="build the bundle on a machine whose glibc is not newer than the target's",
        )
