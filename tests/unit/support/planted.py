"""Secrets as they really look, in places where they really stand: 20 kinds, any number of each."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

LETTERS = string.ascii_letters + string.digits
KINDS: dict[str, Callable[[random.Random], tuple[str, str]]] = {}


@dataclass(frozen=True)
class Planted:
    """A secret and the text that it stands in.

    Args:
        kind: What it is.
        secret: What must not be found afterwards.
        text: Where it stands.
    """

    kind: str
    secret: str
    text: str


def word(rng: random.Random, length: int, letters: str = LETTERS) -> str:
    return "".join(rng.choice(letters) for _ in range(length))


def raw(rng: random.Random, length: int) -> bytes:
    return rng.randbytes(length)


def kind(make: Callable[[random.Random], tuple[str, str]]) -> Callable[..., tuple[str, str]]:
    KINDS[make.__name__] = make
    return make


def human(rng: random.Random) -> str:
    """A password as people choose them."""
    ends = ("!", "?", "#1", "2026", "$$", "%x")
    return (
        rng.choice(("Sommer", "letmein", "Bastei", "tr0ub4dor")) + word(rng, 4) + rng.choice(ends)
    )


@kind
def private_key_pem(rng: random.Random) -> tuple[str, str]:
    body = base64.encodebytes(raw(rng, 120)).decode().strip()
    name = rng.choice(("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
    pem = f"-----BEGIN {name}-----\n{body}\n-----END {name}-----"
    places = (f"dump:\n{pem}\nend", json.dumps({"data": pem}), pem.replace("\n", "\n    "))
    return body.splitlines()[0], rng.choice(places)


@kind
def ssh_key(rng: random.Random) -> tuple[str, str]:
    body = base64.encodebytes(b"openssh-key-v1\0" + raw(rng, 200)).decode().strip()
    text = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----"
    return body.splitlines()[1], text[: rng.choice((len(text), len(text) - 40))]  # also cut off


@kind
def ansible_vault(rng: random.Random) -> tuple[str, str]:
    lines = [word(rng, 80, "0123456789abcdef") for _ in range(4)]
    head = rng.choice(("$ANSIBLE_VAULT;1.1;AES256", "$ANSIBLE_VAULT;1.2;AES256;plant-1"))
    body = "\n          ".join((head, *lines))
    return lines[2], rng.choice(
        (f"x: !vault |\n          {body}\ny: 1", f"{head}\n" + "\n".join(lines))
    )


@kind
def jwt(rng: random.Random) -> tuple[str, str]:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    signature = base64.urlsafe_b64encode(raw(rng, 32)).decode().rstrip("=")
    token = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': word(rng, 6)})}.{signature}"
    return signature, rng.choice((f"got token {token} from client", f'{{"id": "{token}"}}'))


@kind
def bearer(rng: random.Random) -> tuple[str, str]:
    token = word(rng, rng.choice((12, 20, 40)))
    places = (
        f"GET /v1/models HTTP/1.1\nAuthorization: Bearer {token}\nHost: x",
        f"curl -H 'authorization: bearer {token}' https://x",
        f'{{"headers": {{"Authorization": "Bearer {token}"}}}}',
    )
    return token, rng.choice(places)


@kind
def basic(rng: random.Random) -> tuple[str, str]:
    token = base64.b64encode(f"admin:{human(rng)}".encode()).decode()
    places = (f"Authorization: Basic {token}", f"proxy-authorization=Basic {token} next")
    return token, rng.choice(places)


@kind
def password_in_url(rng: random.Random) -> tuple[str, str]:
    secret = word(rng, 10) + rng.choice("!$*-_.")
    places = (
        f"connecting to postgresql://app:{secret}@10.0.0.5:5432/db",
        f"proxy=http://user:{secret}@proxy:3128/",
        f"git clone https://{secret}@git.example/x.git",
        f"redis://:{secret}@localhost:6379/0",
    )
    return secret, rng.choice(places)


@kind
def url_parameter(rng: random.Random) -> tuple[str, str]:
    secret = word(rng, 24)
    name = rng.choice(("token", "api_key", "sig", "access_key", "X-Amz-Signature"))
    return secret, f"GET https://x.example/a?b=1&{name}={secret}&c=2 200"


@kind
def aws(rng: random.Random) -> tuple[str, str]:
    key_id = "AKIA" + word(rng, 16, string.ascii_uppercase + string.digits)
    secret = word(rng, 40, LETTERS + "/+")
    places = (
        (key_id, f"botocore: using {key_id} in eu-central-1"),
        (secret, f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}"),
        (secret, f"export AWS_SECRET_ACCESS_KEY={secret}"),
    )
    return rng.choice(places)


@kind
def cookie(rng: random.Random) -> tuple[str, str]:
    secret = word(rng, 26)
    places = (
        f"Cookie: lang=de; session={secret}; theme=dark",
        f"Set-Cookie: sid={secret}; HttpOnly; Secure",
        f'"cookie": "auth={secret}"',
    )
    return secret, rng.choice(places)


@kind
def environment(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    name = rng.choice(
        ("DB_PASSWORD", "POSTGRES_PASSWORD", "API_TOKEN", "SMTP_PASS", "CLIENT_SECRET")
    )
    places = (f"export {name}='{secret}'", f"Environment={name}={secret}", f'{name}="{secret}"')
    return secret, rng.choice(places)


@kind
def yaml_value(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    name = rng.choice(("password", "admin_password", "secret", "api-key", "smtp.password"))
    places = (
        f"db:\n  {name}: {secret}\n  port: 5432",
        f'db:\n  "{name}": "{secret} with words"\n',
        f"db: {{user: app, {name}: {secret}, port: 1}}",
        f"db:\n  {name}: correct, horse {secret} (staple)\n",
        f"{name}: |\n  {secret}\n  second line\nnext: 1",
    )
    return secret, rng.choice(places)


@kind
def json_value(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    name = rng.choice(("password", "dbPassword", "clientSecret", "refresh_token", "apiKey"))
    plain = json.dumps({"user": "app", name: secret, "port": 1})
    return secret, rng.choice(
        (plain, json.dumps({"log": plain}), json.dumps(json.loads(plain), indent=1))
    )


@kind
def ini_value(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    places = (
        f"[mail]\nuser = x\npassword = {secret}\n",
        f"requirepass={secret}",
        f"Server=db;User Id=sa;Password={secret};Encrypt=yes",
    )
    return secret, rng.choice(places)


@kind
def command_line(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    places = (
        f"ExecStart=/usr/bin/app --password {secret} --port 1",
        f"ps: app --token={secret}",
        f"curl -u admin:{secret} https://x",
        f"mysql --user=root --passphrase '{secret}'",
    )
    return secret, rng.choice(places)


@kind
def forge(rng: random.Random) -> tuple[str, str]:
    token = rng.choice(
        (
            "ghp_" + word(rng, 36),
            "github_pat_" + word(rng, 40),
            "glpat-" + word(rng, 20),
            "npm_" + word(rng, 36),
            "pypi-AgEI" + word(rng, 60),
        )
    )
    return token, f"remote said: bad credentials for {token} (401)"


@kind
def model_service(rng: random.Random) -> tuple[str, str]:
    token = rng.choice(
        (
            "sk-" + word(rng, 48),
            "sk-proj-" + word(rng, 40),
            "sk-ant-api03-" + word(rng, 40),
            "hf_" + word(rng, 34),
            "AIza" + word(rng, 35),
            "sk_live_" + word(rng, 24),
            "xoxb-" + word(rng, 12, string.digits) + "-" + word(rng, 24),
            "bst_" + word(rng, 43, LETTERS + "-_"),
            "bst_ro_" + word(rng, 43, LETTERS + "-_"),
        )
    )
    return token, f"Incorrect key provided: {token}."


@kind
def password_hash(rng: random.Random) -> tuple[str, str]:
    tail = word(rng, 43, LETTERS + "./")
    salt = word(rng, 16)
    hashed = rng.choice((f"$6${salt}${tail}", f"$y$j9T${salt}${tail}", f"$2b$12${salt}{tail}"))
    return tail, f"root:{hashed}:19700:0:99999:7:::"


@kind
def stored_login(rng: random.Random) -> tuple[str, str]:
    secret = human(rng).replace(":", "")
    places = (
        f"machine git.example login me password {secret}",
        f"db.example:5432:prod:app:{secret}",
        f"<password>{secret}</password>",
        "AGE-SECRET-KEY-1" + (long := word(rng, 58, string.ascii_uppercase + string.digits)),
    )
    found = rng.choice(places)
    return (long if found.startswith("AGE") else secret), found


@kind
def encoded(rng: random.Random) -> tuple[str, str]:
    secret = human(rng)
    text = rng.choice((f"password={secret}", f"Authorization: Bearer {word(rng, 20)}{secret}"))
    token = base64.b64encode(text.encode()).decode()
    return token, rng.choice((f"data: {token}", f'{{"blob":"{token}"}}', f"payload {token} sent"))


@kind
def key_digest(rng: random.Random) -> tuple[str, str]:
    digest = hashlib.sha256(raw(rng, 32)).hexdigest()
    return digest, f"{digest} {rng.choice(('full', 'read-only', 'admin', 'user'))}\n"


def plant(seed: int, each: int = 5) -> list[Planted]:
    """Return ``each`` secrets of every kind."""
    rng = random.Random(seed)  # noqa: S311 - so that a failure can be repeated
    return [Planted(k, *make(rng)) for k, make in KINDS.items() for _ in range(each)]
