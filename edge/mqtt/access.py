"""Makes paho clients for one broker: protocol, transport, login, TLS."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge import files
from edge.errors import ConfigError
from edge.messages import PAYLOAD_MAX, Broker, Incoming, Message, Tls
from edge.mqtt.client import Client

log = logging.getLogger(__name__)
RECEIVE_MAX: Final = 100
"""Messages of QoS 1 that a broker may send before the first is acknowledged (MQTT 5)."""
KINDS: Final = 16
"""Expiry times whose properties are cached; a request may change them."""


class Access:
    """Makes clients for one broker. Raises ConfigError if its TLS files are unusable."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._context = context(broker.tls) if broker.tls else None
        if broker.tls and broker.tls.accept_any_certificate:
            log.warning(
                "broker %s: certificate not checked, any server is trusted; set mqtt.ca_file",
                broker.address,
            )

    @property
    def version5(self) -> bool:
        """Whether messages can have properties."""
        return self._broker.protocol == "5"

    def client(
        self,
        client_id: str,
        *,
        kind: type[Client] = Client,
        reconnect: bool = False,
        payload_max: int = PAYLOAD_MAX,
        on_incoming: Callable[[Incoming], None] = lambda _: None,
        on_ended: Callable[[str], None] = lambda _: None,
    ) -> Client:
        """Return a client that is not connected yet; Client has the parameters.

        kind       the class, for a program with one of its own
        reconnect  whether paho reconnects by itself
        """
        broker = self._broker
        client = kind(
            client_id,
            version5=self.version5,
            transport=broker.transport,
            reconnect=reconnect,
            payload_max=payload_max,
            on_incoming=on_incoming,
            on_ended=on_ended,
        )
        if broker.transport == "websockets":
            client.ws_set_options(path=broker.path)
        if broker.username:
            client.username_pw_set(broker.username, broker.password or None)
        if self._context is not None:
            client.tls_set_context(self._context)
        return client

    def connection(self) -> dict[str, Any]:
        """Return the arguments of ``connect`` and ``connect_async``.

        They set no Maximum Packet Size: mosquitto 2.0.11 counts each message that it drops for it
        as sent and unacknowledged, and after Receive Maximum of them sends nothing more. The
        client itself reads and drops what is too long.
        """
        broker = self._broker
        arguments = {"host": broker.host, "port": broker.port, "keepalive": broker.keepalive_s}
        if not self.version5:
            return arguments
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAX
        return {**arguments, "clean_start": True, "properties": properties}


class Outgoing:
    """Makes the MQTT 5 properties of messages; equal ones are made once.

    user  name and value of the user property of every message
    """

    def __init__(self, user: tuple[str, str]) -> None:
        self._user = user
        self._made: dict[int | None, tuple[Properties, int]] = {}

    def properties(self, message: Message) -> tuple[Properties, int]:
        """Return the MQTT 5 properties of ``message``, and how many bytes they are in a packet."""
        cached = None if message.correlation else self._made.get(message.expires_s)
        if cached is not None:
            return cached
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        made.UserProperty = self._user
        if message.expires_s is not None:
            made.MessageExpiryInterval = message.expires_s
        if message.correlation:
            made.CorrelationData = message.correlation
        packed_bytes = len(made.pack())  # type: ignore[no-untyped-call]
        if not message.correlation:
            if len(self._made) >= KINDS:
                self._made.clear()
            self._made[message.expires_s] = made, packed_bytes
        return made, packed_bytes


def context(tls: Tls) -> ssl.SSLContext:
    """Return the context that checks the broker and holds our certificate. Raises ConfigError.

    It checks signatures, dates, name, purpose, and that each issuer may sign, the same on every
    Python. VERIFY_X509_STRICT, which Python 3.13 sets by itself, is off: it refuses certificates
    made as mosquitto-tls(7) says and adds no safety, for one without a key identifier is as hard to
    forge. VERIFY_X509_PARTIAL_CHAIN is on, as in 3.13: a certificate in ca_file is trusted whether
    or not it is self-signed. Source: OpenSSL, X509_VERIFY_PARAM_set_flags(3).
    """
    texts = {key: _pem(key, getattr(tls, key)) for key in ("ca_file", "cert_file", "key_file")}
    authorities = texts["ca_file"].encode("ascii", "ignore").decode()  # comments: any encoding
    where = f"mqtt.ca_file {tls.ca_file}"
    if tls.ca_file and "-----BEGIN " not in authorities:
        raise ConfigError("no certificate in the file", where=where, expected="PEM")
    try:
        made = ssl.create_default_context(cadata=authorities or None)
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise ConfigError("no certificate in the file", where=where, expected="PEM") from exc
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.accept_any_certificate:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        try:
            made.load_cert_chain(tls.cert_file, tls.key_file or None, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise ConfigError(
                "certificate and key cannot be used",
                where=f"mqtt.cert_file {tls.cert_file}, mqtt.key_file {tls.key_file}",
                expected="PEM, a matching key without a pass phrase",
            ) from exc
    return made


def _pem(key: str, path: str) -> str:
    """Return the text of the file ``path``, empty for no path. ``key``: for the error."""
    if not path:
        return ""
    try:
        return files.read(Path(path), files.TEXT_MAX_BYTES).decode("utf-8", "replace")
    except OSError as exc:
        where = f"mqtt.{key} {path}"
        raise ConfigError(f"file cannot be read: {exc.strerror}", where=where) from exc


def _no_password() -> str:
    """Keep OpenSSL from prompting at a terminal."""
    return ""


def reason(error: BaseException | None) -> str:
    """Return why there is no connection, in OpenSSL's words where it knows."""
    if type(error).__module__ != "ssl":  # which stays out of memory
        return str(error or "")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return str(error)
