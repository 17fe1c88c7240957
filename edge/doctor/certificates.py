"""Hints for OpenSSL's verify codes: what each says of the broker's certificate, and what to do.

A code that is not listed is quoted in OpenSSL's words, never guessed.
Source: OpenSSL, x509_vfy.h and X509_STORE_CTX_get_error(3).
"""

from __future__ import annotations

from typing import Any, Final

from edge.messages import Tls

NOT_YET, EXPIRED, NO_NAME, NO_ADDRESS = 9, 10, 62, 64
FOREIGN: Final = (2, 19, 20, 21)
"""No authority of the chain is trusted."""
SELF_SIGNED: Final = 18
OTHER_KEY: Final = 7
PAGE: Final = "docs/certificates.md"
AGAIN: Final = f"make it again as {PAGE} says"
NO_AUTHORITY: Final = (
    "its issuer is not an authority (basicConstraints CA:TRUE or keyUsage keyCertSign is missing)"
)
FAULTS: Final = {
    79: f"{NO_AUTHORITY}: {AGAIN}",
    25: f"its authority may not sign through another one (pathlen): {AGAIN}",
    26: f"it is not made for a server (extendedKeyUsage lacks serverAuth): {AGAIN}",
    32: f"its authority may not sign (keyUsage lacks keyCertSign): {AGAIN}",
    66: f"its key is too short, RSA needs 2048 bits: {AGAIN}",
    67: f"its authority's key is too short, RSA needs 2048 bits: {AGAIN}",
    68: f"it is signed with MD5 or SHA-1: {AGAIN}",
}


def hint(code: int, tls: Tls, facts: dict[str, Any], known: set[str]) -> str:
    """Return what to do.

    code   the verify code
    facts  of the broker's certificate, as far as known: names, common_name, issuer,
           expires_in_days
    known  names of the trusted authorities
    """
    names, common, issuer = (facts.get(key) for key in ("names", "common_name", "issuer"))
    trusted = tls.ca_file or "empty, which means the system's authorities"
    if code == OTHER_KEY or (code in FOREIGN and issuer in known and tls.ca_file):
        return (
            f"another {issuer or 'authority'} than the one in mqtt.ca_file {trusted} has signed it"
        )
    if code in FOREIGN:
        return f"mqtt.ca_file must hold {issuer or 'its authority'}; it is {trusted}"
    if code == SELF_SIGNED:
        return f"it is self-signed: mqtt.ca_file must hold that certificate; it is {trusted}"
    if code == EXPIRED and facts.get("expires_in_days", -1) > 0:
        return f"it is good, an authority above it has expired: {AGAIN}"
    if code == EXPIRED:
        return "renew it; or this machine's date is wrong: see `clock`"
    if code == NOT_YET:
        return "this machine's date is wrong, or was wrong where it was made: see `clock`"
    if code in (NO_NAME, NO_ADDRESS) and names:
        return f"set mqtt.host to a name in it: {', '.join(names)}"
    if code == NO_ADDRESS and common:
        return (
            f"set mqtt.host to its common name {common}: without a subjectAltName it is valid for"
            f" no address; or {AGAIN}"
        )
    if code in (NO_NAME, NO_ADDRESS):
        named = f"set mqtt.host to its common name {common}" if common else "it names no host"
        return f"{named}; or {AGAIN}"
    return FAULTS.get(code, f"OpenSSL's verify code {code}; {PAGE} says what a good one has")
