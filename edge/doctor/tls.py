"""The broker's certificate: whose it is, how long it lasts, and why it is not accepted.

OpenSSL shows a certificate's fields only where it accepts it. One that it refuses is looked at on
a second connection, which trusts just that and minds no date. Source: ssl; RFC 5280.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from edge.doctor import certificates
from edge.doctor.checks import Findings, lasted
from edge.errors import ConfigError
from edge.messages import Broker, Tls
from edge.mqtt.access import context, reason

Connect = Callable[[], socket.socket]
SOON_S: Final = 21 * 86_400
NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME"""
TALK: Final = "does the broker speak TLS there? see mqtt.port and mqtt.tls"
REFUSED: Final = "the broker's own log says why; does it want mqtt.cert_file, or a TLS before 1.2?"
NAMES: Final = ("DNS", "IP Address")
"""Kinds of a subjectAltName that name a host."""
NAMED: Final = ("commonName", "organizationName")
"""What an authority is called by."""


def check(found: Findings, broker: Broker, tls: Tls, connect: Connect) -> bool:
    """Look at the certificate; return whether the daemon would go on."""
    try:
        strict = context(tls)
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            found.wrong("unknown", f"TLS not tried: {exc}", "run it as root: sudo edge doctor")
        else:
            found.error(exc, "check the paths in [mqtt]")
        return False
    try:
        version, shown = _handshake(strict, broker.host, connect)
    except ssl.SSLCertVerificationError as exc:
        facts = _describe(found, _refused(tls, broker.host, connect))
        facts["verified"] = False
        known = {_name(one.get("subject", ()), *NAMED) for one in strict.get_ca_certs()}
        hint = certificates.hint(exc.verify_code, tls, facts, known)
        found.facts["verify_code"] = exc.verify_code
        found.wrong("fault", reason(exc), hint)
        return False
    except OSError as exc:
        what = reason(exc) if isinstance(exc, ssl.SSLError) else f"TLS: {exc or 'no answer'}"
        alert = "ALERT" in str(getattr(exc, "reason", ""))
        found.wrong("fault", what, REFUSED if alert else TALK)
        return False
    if tls.accept_any_certificate:
        shown = _refused(tls, broker.host, connect)
        hint = "set mqtt.ca_file instead of accept_any_certificate"
        found.wrong("warning", "its certificate is not checked", hint)
    facts = _describe(found, shown)
    facts |= {"version": version, "verified": not tls.accept_any_certificate}
    left_s = facts.get("expires_in_days", 365) * 86_400
    if left_s < SOON_S:
        found.wrong("warning", f"its certificate ends in {lasted(left_s)}", "renew it")
    found.say(f"{version}{'' if tls.accept_any_certificate else ', certificate verified'}")
    return True


def _handshake(made: ssl.SSLContext, host: str, connect: Connect) -> tuple[str, dict[str, Any]]:
    with connect() as plain, made.wrap_socket(plain, server_hostname=host) as encrypted:
        return encrypted.version() or "TLS", dict(encrypted.getpeercert() or {})


def _refused(tls: Tls, host: str, connect: Connect) -> dict[str, Any]:
    """Return the fields of a certificate that is not, or need not be, accepted."""
    any_of_them = context(replace(tls, ca_file="", accept_any_certificate=True))
    try:
        any_of_them.set_ciphers("DEFAULT:@SECLEVEL=0")  # also one with a key that is too short
        with connect() as plain, any_of_them.wrap_socket(plain, server_hostname=host) as encrypted:
            certificate = encrypted.getpeercert(True) or b""
        any_of_them.verify_mode = ssl.CERT_REQUIRED
        any_of_them.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(NO_CHECK_TIME)
        any_of_them.load_verify_locations(cadata=certificate)
        return _handshake(any_of_them, host, connect)[1]
    except (OSError, ValueError):
        return {}


def _describe(found: Findings, shown: dict[str, Any]) -> dict[str, Any]:
    """Tell names, issuer and end of a certificate."""
    facts: dict[str, Any] = {}
    found.facts["certificate"] = facts
    if not shown:
        return facts
    named = shown.get("subjectAltName", ())
    names = facts["names"] = [value.strip() for kind, value in named if kind in NAMES]
    facts["common_name"] = _name(shown.get("subject", ()), "commonName")
    facts["issuer"] = _name(shown.get("issuer", ()), *NAMED)
    facts["expires"] = shown["notAfter"]
    left = ""
    with contextlib.suppress(ValueError):  # a date of no form that is known
        ends_s = ssl.cert_time_to_seconds(shown["notAfter"])
        facts["expires_in_days"] = round((ends_s - time.time()) / 86_400, 1)
        left = f", {facts['expires_in_days']:.0f} days left"
    whose = ", ".join(names) or (facts["common_name"] or "nobody") + " (no subjectAltName)"
    found.say(f"certificate of {whose} by {facts['issuer'] or 'nobody'}{left}")
    return facts


def _name(parts: Any, *keys: str) -> str:
    """Return the first of ``keys`` that a subject or an issuer has; empty where it has none."""
    values = {key: value for part in parts for key, value in part}
    return next((values[key] for key in keys if key in values), "")
