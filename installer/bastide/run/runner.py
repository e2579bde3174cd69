"""The only module that knows ansible-runner: a playbook in a fresh folder → typed events.

Traps it closes: ansible-runner writes variables and passwords into ``env/`` (suppressed), stores
the command with the whole environment in ``artifacts/*/command`` (removed, and the environment is
cut to a few names beforehand), drops its own settings when env files are suppressed (set directly),
and calls a run successful whose last events were lost (a run without Ansible's final count fails).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bastide.host import process
from bastide.host.leash import leashed
from bastide.layout import RunFolder
from bastide.render.inventory import CONNECTION_OPTIONS
from bastide.run.events import Event, Finished, PhaseStarted, parse_event

POLL_SECONDS = 0.2  # how soon a cancelled run is noticed
LARGEST_RESULT = 8_000_000  # characters of one step's result that still travel in an event

# What Ansible gets of this process's environment: enough to find programs, the terminal's
# language and an SSH agent. Everything else stays out, such as tokens in variables, and settings
# of Ansible that the operator has for other work.
_KEPT_VARIABLES = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "USER"
)  # fmt: skip

_SSH_ARGUMENTS = " ".join(
    f"-o {option}" for option in ("ControlMaster=auto", "ControlPersist=120s", *CONNECTION_OPTIONS)
)

ANSIBLE_CONFIG = """\
# Ansible's settings for this run; the user's and the system's own are not read.
[defaults]
gathering = explicit
interpreter_python = /usr/bin/python3
host_key_checking = True
retry_files_enabled = False
nocows = True
deprecation_warnings = False
internal_poll_interval = 0.001
display_skipped_hosts = False
timeout = 15

[inventory]
enable_plugins = ansible.builtin.yaml

[ssh_connection]
pipelining = True
"""


@dataclass(frozen=True)
class Job:
    """One playbook to run.

    Args:
        folder: The run's folder, with inventory, project and ``ansible.cfg`` in place.
        playbook: The playbook's name below the project folder.
        forks: How many hosts are worked on at once.
        sockets: A folder with a short path for SSH's shared connections.
        vault_password: The file with the password for the secrets; None if there are none.
        retries: How often a lost connection is tried again.
        variables: Further variables of this playbook alone.
        ident: What its events are kept under; the playbook's name if empty.
    """

    folder: RunFolder
    playbook: str
    forks: int
    sockets: Path
    vault_password: Path | None = None
    retries: int = 2
    variables: Mapping[str, str] = field(default_factory=dict)
    ident: str = ""


@dataclass(frozen=True)
class Outcome:
    """How ansible-runner ended.

    Args:
        finished: Ansible's final count; None if it never came.
        returncode: Ansible's exit code; 254 if it was cancelled.
        cancelled: Somebody asked for the end.
        last_words: The end of Ansible's own output, for when it died before the first step.
    """

    finished: Finished | None
    returncode: int
    cancelled: bool
    last_words: str

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end on every host."""
        return (
            self.finished is not None
            and self.returncode == 0
            and not self.cancelled
            and not any(self.finished.failed.values())
            and not any(self.finished.unreachable.values())
        )


@contextlib.contextmanager
def ssh_sockets() -> Iterator[Path]:
    """Make a private folder for SSH's shared connections; close them and remove it at the end.

    It lies in the system's temporary folder, because a socket's path is limited to 108 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix="bastide-ssh-"))
    try:
        yield folder
    finally:
        for socket in (path for path in folder.iterdir() if path.is_socket()):
            argv = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "bastide"]
            with contextlib.suppress(process.ProcessError):
                process.run(argv, check=False, timeout=5)
        shutil.rmtree(folder, ignore_errors=True)


def run_playbook(
    job: Job, on_event: Callable[[Event], None], cancelled: threading.Event | None = None
) -> Outcome:
    """Run a playbook to its end and return how it ended.

    Args:
        job: What to run.
        on_event: Called with each event, in order, while it runs.
        cancelled: Once it is set, Ansible is killed within a second.
    """
    from ansible_runner import interface  # noqa: PLC0415 - slow to import

    asked = cancelled or threading.Event()
    final: list[Finished] = []
    announced: list[PhaseStarted] = []

    def take(raw: dict[str, Any]) -> bool:
        event = parse_event(raw)
        _trim(raw)
        if isinstance(event, PhaseStarted):
            announced[:] = [event]  # begun by its first step: Ansible also announces empty plays
            return True
        if isinstance(event, Finished):
            final.append(event)
        elif event is not None and announced:
            on_event(announced.pop())
        if event is not None:
            on_event(event)
        return True

    runner = interface.init_runner(
        private_data_dir=str(job.folder.root),
        ident=job.ident or Path(job.playbook).stem,
        playbook=job.playbook,
        inventory=str(job.folder.inventory),
        cmdline=_arguments(job),
        envvars=_variables(job),
        forks=job.forks,
        quiet=True,
        suppress_env_files=True,
        event_handler=take,
        cancel_callback=asked.is_set,
    )
    _tighten(runner.config)
    try:
        runner.run()
    finally:
        _scrub(Path(runner.config.artifact_dir))
    words = _last_words(Path(runner.config.artifact_dir))
    return Outcome(final[-1] if final else None, int(runner.rc or 0), asked.is_set(), words)


def _arguments(job: Job) -> str:
    words = ["-e", f"@{job.folder.secrets}"] if job.vault_password is not None else []
    if job.variables:
        words += ["-e", json.dumps(dict(job.variables))]
    return shlex.join(words)


def _variables(job: Job) -> dict[str, str]:
    variables = {
        "ANSIBLE_CONFIG": str(job.folder.ansible_config),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_SSH_ARGS": _SSH_ARGUMENTS,
        "ANSIBLE_SSH_RETRIES": str(job.retries),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(job.sockets),
        "ANSIBLE_LOCAL_TEMP": str(job.sockets / "tmp"),
        "ANSIBLE_HOME": str(job.sockets / "home"),
        "ANSIBLE_ROLES_PATH": str(job.folder.project / "roles"),
        "MAX_EVENT_RES": str(LARGEST_RESULT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if job.vault_password is not None:
        variables["ANSIBLE_VAULT_PASSWORD_FILE"] = str(job.vault_password)
    return variables


def _tighten(config: Any) -> None:  # noqa: ANN401 - ansible-runner has no types
    """Cut the environment, put Ansible on a leash, look for a cancelled run often."""
    own_programs = str(Path(sys.executable).parent)
    kept = {
        name: value
        for name, value in config.env.items()
        if name in _KEPT_VARIABLES or value != os.environ.get(name)  # set by us or ansible-runner
    }
    kept["PATH"] = os.pathsep.join((own_programs, kept.get("PATH", os.defpath)))
    config.env = kept
    config.command = leashed(config.command)
    config.pexpect_timeout = POLL_SECONDS


def _trim(raw: dict[str, Any]) -> None:
    """Take out of an event, before it is kept, what stands elsewhere: inputs and copies of lines.

    A step's input can be the whole host agent or a stage description; both lie in the run's folder.
    """
    result = (raw.get("event_data") or {}).get("res")
    if isinstance(result, dict):
        for name in ("invocation", "stdout_lines", "stderr_lines"):
            result.pop(name, None)


def _scrub(artifacts: Path) -> None:
    (artifacts / "command").unlink(missing_ok=True)
    shutil.rmtree(artifacts / "fact_cache", ignore_errors=True)


def _last_words(artifacts: Path) -> str:
    words = []
    for name in ("stderr", "stdout"):
        with contextlib.suppress(OSError):
            text = (artifacts / name).read_text(errors="replace").strip()
            words.extend(text.splitlines()[-20:])
    return "\n".join(words)


def forks_for(hosts: Mapping[str, object]) -> int:
    """Return how many hosts to work on at once: all of them, up to 32."""
    return max(1, min(32, len(hosts)))
