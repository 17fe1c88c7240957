"""The broker's certificate: whose it is, how long it lasts, and why it is not accepted.

OpenSSL shows a certificate's fields only where it accepts it. One that it refuses is looked at on
a second connection, which trusts just that and minds no date. Source: ssl; RFC 5280.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from edge.doctor.checks import Findings, lasted
from edge.errors import ConfigError
from edge.messages import Broker, Tls
from edge.mqtt.access import context, reason

Connect = Callable[[], socket.socket]
SOON_S: Final = 21 * 86_400
NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME"""
NOT_YET, EXPIRED, NO_NAME, NO_ADDRESS = 9, 10, 62, 64
"""OpenSSL's X509_V_ERR_*."""


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
        found.wrong("fault", reason(exc), _mend(exc.verify_code, tls, facts))
        return False
    except OSError as exc:
        what = reason(exc) if isinstance(exc, ssl.SSLError) else f"TLS: {exc or 'no answer'}"
        found.wrong("fault", what, "does the broker speak TLS there? see mqtt.port and mqtt.tls")
        return False
    if tls.accept_any_certificate:
        shown = _refused(tls, broker.host, connect)
        mend = "set mqtt.ca_file instead of accept_any_certificate"
        found.wrong("warning", "its certificate is not checked", mend)
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
    facts["names"] = [value for _, value in shown.get("subjectAltName", ())]
    facts["issuer"] = ", ".join(
        value for part in shown.get("issuer", ()) for key, value in part if key == "commonName"
    )
    ends_s = ssl.cert_time_to_seconds(shown["notAfter"])
    facts["expires"] = shown["notAfter"]
    facts["expires_in_days"] = round((ends_s - time.time()) / 86_400, 1)
    found.say(
        f"certificate of {', '.join(facts['names']) or 'nobody'} by {facts['issuer']},"
        f" {facts['expires_in_days']:.0f} days left"
    )
    return facts


def _mend(code: int, tls: Tls, facts: dict[str, Any]) -> str:
    if code in (EXPIRED, NOT_YET):
        return "renew it; or this machine's date is wrong: see `clock`"
    if code in (NO_NAME, NO_ADDRESS):
        return (
            f"set mqtt.host to a name in it: {', '.join(facts.get('names', [])) or 'it has none'}"
        )
    trusted = tls.ca_file or "empty, which is the system's authorities"
    return f"mqtt.ca_file must hold {facts.get('issuer') or 'its authority'}; it is {trusted}"
