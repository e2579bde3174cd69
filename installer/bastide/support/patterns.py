"""Forms that secrets have, whosever they are. Pure.

Each has a name, which stands in the place of what it finds. Order matters: what holds others (a key
in PEM) comes before what would only find a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_I, _M = re.IGNORECASE, re.MULTILINE

# Words that make a name one of a secret's, as a whole part of the name or at its end (dbPassword).
_WORDS = (
    r"password|passwd|passphrase|passwort|kennwort|pwd|secret|secrets|token|apikey|api[_-]?key|"
    r"access[_-]?key|access[_-]?key[_-]?id|private[_-]?key|signing[_-]?key|encryption[_-]?key|"
    r"account[_-]?key|master[_-]?key|shared[_-]?key|credential|credentials|client[_-]?secret|"
    r"session[_-]?id|sessionid|session[_-]?key|psk|otp|totp|cvv|auth[_-]?key|requirepass"
)
_NAME = (
    rf"(?:[\w.-]{{0,200}}(?:{_WORDS})|(?:[A-Za-z0-9]+[_.-]+){{0,20}}(?:pass|auth|pin|key))"
    r"(?:[_.-](?:value|plain|text|base64|b64|old|new|prod|dev|default|[0-9]+))*"
)
# A count, a switch or nothing at all; everything else beside such a name is taken for a secret.
_HARMLESS = r"(?:true|false|null|none|yes|no|on|off|~|\[\]|\{\}|[0-9]{1,7}(?:\.[0-9]+)?)"
_END = r"(?=[\s,;}\])'\"]|$)"


@dataclass(frozen=True)
class Form:
    """One form of secret.

    Args:
        name: What stands in its place: ``[redacted:NAME]``.
        pattern: Finds it; what is in the group ``keep`` (and ``after``) stays.
    """

    name: str
    pattern: re.Pattern[str]


def _form(name: str, pattern: str, flags: int = 0) -> Form:
    return Form(name, re.compile(pattern, flags))


# A value, quoted or not; an unquoted one ends at white space, a comma or a closing bracket.
_VALUE = r"""(?:"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|[^\s,;'"}\])&][^\s,;}\])&]*)"""

FORMS: tuple[Form, ...] = (
    _form(
        "private-key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----BEGIN )[\s\S]){0,20000}?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    ),
    # One that was cut off: the lines of it that there are, and no more.
    _form(
        "private-key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:(?:\\[nr]|\s)*[A-Za-z0-9+/=]{8,})*",
    ),
    _form("putty-key", r"(?P<keep>PuTTY-User-Key-File-\d: )[\s\S]{0,8000}?Private-MAC: \w+"),
    _form("putty-key", r"(?P<keep>Private-Lines: \d+)(?:\s+[A-Za-z0-9+/=]{20,})+"),
    _form("ansible-vault", r"\$ANSIBLE_VAULT;[^\n]*(?:(?:\\n|\s)+[0-9a-f]{6,})*"),
    _form("age-key", r"AGE-(?:SECRET-KEY|PLUGIN-[A-Z0-9]+)-1[A-Z0-9]+", _I),
    _form("age-file", r"age-encryption\.org/v1(?:\n(?:->|---|[A-Za-z0-9+/=]{20,})[^\n]*)*"),
    _form("jwt", r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*"),
    _form(
        "header",
        r"(?P<keep>\b(?:proxy-)?authorization\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\n\"']+",
        _I,
    ),
    _form("cookie", r"(?P<keep>\b(?:set-)?cookie\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\n\"']+", _I),
    _form("bearer", r"(?P<keep>\bbearer[ \t]+)[\w.~+/=-]{4,}", _I),
    _form("basic", r"(?P<keep>\bbasic[ \t]+)[A-Za-z0-9+/=_-]{8,}", _I),
    _form("url-user", r"(?P<keep>\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@\"'<>]+@", _I),
    _form(
        "url-parameter",
        rf"(?P<keep>[?&;](?:{_WORDS}|sig|signature|key|code|auth|x-amz-\w+)=)[^\s&\"'<>;]+",
        _I,
    ),
    _form(
        "webhook", r"(?P<keep>hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/)\S+"
    ),
    _form("curl-user", r"(?P<keep>(?:^|\s)(?:-u|--user|--proxy-user)[ =])\S+:\S+", _M),
    _form("netrc", r"(?P<keep>\blogin\s+\S+\s+(?:password|passwd)\s+)\S+", _I),
    _form("pgpass", r"(?P<keep>^[\w.*-]+:(?:\d+|\*):[^:\s]+:[^:\s]+:)\S+$", _M),
    _form(
        "password-hash",
        r"\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|apr1|argon2(?:id?|d)?|scrypt|"
        r"pbkdf2[\w-]*)\$[^\s:,\"']{8,}",
    ),
    _form("aws-key", r"\b(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    _form("github", r"\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,})"),
    _form("gitlab", r"\bgl(?:pat|dt|rt|ptt|cbt|soat)-[\w-]{10,}"),
    _form("slack", r"\bxox[abeoprs]-[\w-]{8,}|\bxapp-[\w-]{8,}"),
    _form("api-key", r"\b(?:sk|rk|pk)[-_](?:[a-z]+[-_])?[\w-]{16,}"),
    _form("google", r"\bAIza[\w-]{30,}|\bya29\.[\w-]{10,}|\bGOCSPX-[\w-]{10,}"),
    _form("hugging-face", r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}"),
    _form("registry-token", r"\bnpm_[A-Za-z0-9]{16,}|\bpypi-[\w-]{16,}|\bdckr_pat_[\w-]{16,}"),
    _form("service-token", r"\b(?:dop_v1_|shpat_|SG\.|hvs\.|hvb\.|s\.)[\w.-]{16,}"),
    _form("bastide-key", r"\bbst_[\w-]{6,}"),
    _form(
        "key-digest",
        r"\b[0-9a-f]{64}(?=\s+[\"']?(?:full|read-only|admin|user|reader|monitor)\b)",
    ),
    _form("xml", rf"(?P<keep><(?P<tag>{_NAME})>)[^<]+(?=</(?P=tag)>)", _I),
    _form(
        "block",
        rf"(?P<keep>^(?P<in>[ \t]*)[\"']?{_NAME}[\"']?:[ \t]*[|>][+-]?[ \t]*\n)"
        r"(?:(?P=in)[ \t]+[^\n]*(?:\n|\Z))+",
        _I | _M,
    ),
    # A line that is an assignment: its value may have spaces, commas and brackets in it.
    _form(
        "line",
        r"(?P<keep>^[ \t]*(?:- |export |set |Environment=)?"
        rf"[\"']?{_NAME}[\"']?[ \t]*(?::=|[:=])[ \t]*)"
        rf"(?!\[redacted)(?![|>][+-]?[ \t]*$)(?!{_HARMLESS}[ \t,]*$)[^\s][^\n]*",
        _I | _M,
    ),
    _form(
        "option",
        rf"(?P<keep>(?:^|\s)--?{_NAME}(?:[ =]|[\"'],\s*))(?!-)(?!{_HARMLESS}{_END}){_VALUE}",
        _I | _M,
    ),
    _form(
        "value",
        rf"(?P<keep>(?<![\w.-])(?:\\?[\"'])?{_NAME}(?:\\?[\"'])?\s*(?::=|=>|[:=])[ \t]*)"
        rf"(?!\[redacted)(?!{_HARMLESS}{_END}){_VALUE}",
        _I,
    ),
)

# Texts that might be base 64 of something that is secret, and runs of letters that look random.
ENCODED = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{16,}={0,2}(?![\w+/=-])")
HEX = re.compile(r"[0-9a-fA-F-]+")
