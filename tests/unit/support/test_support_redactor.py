"""A hundred planted secrets of twenty kinds, and not one of them is found afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import KINDS, plant

from bastide.support.redactor import Redactor, looks_random, spellings

SEEDS = range(20)


def test_there_are_twenty_kinds_and_a_hundred_secrets() -> None:
    assert len(KINDS) >= 20
    assert len(plant(0)) >= 100
    assert all(each.secret in each.text for each in plant(1))  # else nothing would be proved


@pytest.mark.parametrize("seed", SEEDS)
def test_no_planted_secret_is_left(seed: int) -> None:
    leaks = [each for each in plant(seed) if each.secret in Redactor().text(each.text)]
    assert leaks == []


@pytest.mark.parametrize("seed", SEEDS)
def test_nor_if_all_of_them_stand_in_one_file(seed: int) -> None:
    planted = plant(seed)
    redactor = Redactor()
    text = redactor.text("\n\n".join(f"{n} begins\n{p.text}" for n, p in enumerate(planted)))
    assert [each for each in planted if each.secret in text] == []
    assert sum(redactor.found.values()) >= 60  # some forms take several at once


LINES = [
    "2026-11-26T12:24:30+0000 host1 systemd[1]: Started bastide-llm.service - Bastide LLM.",
    "   21.3 s  host1  (4/6) SWITCH  Every service of this host answers  0.3 s",
    '{"completion_tokens": 12, "prompt_tokens": 7, "max_tokens": 2048}',
    "bundle 5f16d8f9a0c5e2b7d3d1f6a9e8c7b6a5d4c3b2a1f0e9d8c7b6a5d4c3b2a1f0e9 in the store",
    "/opt/bastide/generations/1/venv/lib/python3.11/site-packages/llama_cpp/lib/libllama.so",
    "ExecStart=/usr/sbin/haproxy -Ws -f /opt/bastide/current/etc/haproxy.cfg",
    "BAS-6060 bastide-gateway.service did not start; its last journal lines:",
    "models: smollm2-135m-instruct-q4_1-t2, all-minilm-l6-v2-q8_0",
    "42 checks passed, 0 failed; keys: 3; tokens/s 43.1; token limit reached",
    "run 20261126T122427.979Z-8d7948 done",
    "authentication: yes\npassword: null\nsecret_count: 3\n",
    "net.ipv4.ip_forward = 0",
    "Subject: CN=bastide.internal, Not After: Nov 26 2027",
]


@pytest.mark.parametrize("line", LINES)
def test_what_helps_stays_as_it_is(line: str) -> None:
    assert Redactor().text(line) == line


def test_what_stands_around_a_secret_stays() -> None:
    text = "GET https://app:hunter2secret@db.example/x?a=1 200\npassword: x7!y\nport: 5432\n"
    assert Redactor().text(text) == (
        "GET https://[redacted:url-user]@db.example/x?a=1 200\n"
        "password: [redacted:line]\nport: 5432\n"
    )


SECRET = "correct horse/battery+staple=9"


def test_known_secrets_are_found_in_every_spelling() -> None:
    raw = SECRET.encode()
    written = [
        SECRET,
        json.dumps({"a": SECRET}),
        quote(SECRET, safe=""),
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw + b" and more").decode(),
        base64.b64encode(b"x" + raw).decode(),
        hashlib.sha256(raw).hexdigest() + " admin",
        hashlib.sha256(raw).hexdigest(),
        base64.b64encode(hashlib.sha256(raw).digest()).decode(),
        SECRET[::-1],
    ]
    for text in written:
        redactor = Redactor([SECRET])
        assert "[redacted:" in redactor.text(f"seen {text} there"), text


def test_lines_of_a_known_key_are_found_without_its_frame() -> None:
    lines = [base64.b64encode(bytes([n]) * 40).decode() for n in range(3)]
    pem = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----\n"
    text = Redactor([pem]).text(f"journal: {lines[1]}")
    assert lines[1] not in text


def test_short_texts_are_not_taken_for_secrets() -> None:
    assert list(spellings("abc")) == []
    assert Redactor(["root", "llm"]).text("root runs llm") == "root runs llm"


secrets = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=8, max_size=60
).filter(lambda text: len(text.strip()) >= 8)


@given(secrets, st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_known_secret_never_stays_whatever_stands_around_it(
    secret: str, before: str, after: str
) -> None:
    known = secret.strip()
    text = Redactor([secret]).text(f"{before} {known} {after}")
    encoded = base64.b64encode(known.encode()).decode()
    assert known not in text
    assert encoded not in Redactor([secret]).text(f"{before} {encoded} {after}")


passwords = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'\\"), min_size=8
).filter(lambda text: not text.isdigit())


@given(passwords, st.sampled_from(["password: {}", "DB_PASSWORD={}", "export API_TOKEN={}"]))
@settings(max_examples=200, deadline=None)
def test_whatever_a_password_is_made_of_an_assignment_hides_it(password: str, form: str) -> None:
    text = Redactor().text(f"a: 1\n{form.format(password)}\nb: 2\n")
    assert password not in text.replace("redacted", "")
    assert text.startswith("a: 1\n")
    assert text.endswith("\nb: 2\n")


@given(st.text(max_size=2000))
@settings(max_examples=150, deadline=None)
def test_any_text_can_be_redacted(text: str) -> None:
    redactor = Redactor([SECRET])
    once = redactor.text(text)
    assert SECRET not in once


@pytest.mark.parametrize(
    "text", ["a" * 300_000, "a_" * 150_000, "password" * 40_000, "a.b-" * 80_000, "=" * 300_000]
)
def test_strange_texts_take_no_strange_time(text: str) -> None:
    begun = time.process_time()
    Redactor([SECRET]).text(text)
    assert time.process_time() - begun < 60


@pytest.mark.parametrize(
    ("word", "random"),
    [
        ("q8Zk3LmP0xYt7RvB2nWs9Jd4", True),
        ("smollm2-135m-instruct-q4_1-t2", False),
        ("0123456789abcdef0123456789abcdef", False),
        ("TheQuickBrownFoxJumpsOverTheLazyDog", False),
        ("qdrant_edge_py-0.9.0-cp310-abi3", False),
    ],
)
def test_randomness(word: str, random: bool) -> None:
    assert looks_random(word) is random
