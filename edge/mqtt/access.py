"""A client of paho's for one broker: protocol, transport, login, TLS."""

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
"""Messages of QoS 1 that a broker which speaks MQTT 5 sends before the first is acknowledged."""
KINDS: Final = 16
"""Times of expiry whose properties are kept; a request may change them."""


class Access:
    """Makes clients for one broker. Raises ConfigError where its TLS files cannot be used."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._context = context(broker.tls) if broker.tls else None
        if broker.tls and broker.tls.accept_any_certificate:
            log.warning(
                "broker %s: its certificate is not checked; whoever answers gets all that is sent",
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
        reconnect: bool = False,
        payload_max: int = PAYLOAD_MAX,
        on_incoming: Callable[[Incoming], None] = lambda _: None,
        on_ended: Callable[[str], None] = lambda _: None,
    ) -> Client:
        """Return a client that is not connected yet, as Client's docstring has it.

        reconnect  whether paho tries again by itself
        """
        broker = self._broker
        client = Client(
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

        No Maximum Packet Size is asked for: mosquitto 2.0.11 counts what it drops for that as sent
        and never acknowledged, and after Receive Maximum such messages sends nothing more. The
        client reads and drops what is too long.
        """
        broker = self._broker
        asked = {"host": broker.host, "port": broker.port, "keepalive": broker.keepalive_s}
        if not self.version5:
            return asked
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAX
        return {**asked, "clean_start": True, "properties": properties}


class Outgoing:
    """Makes the properties of messages; those of the same kind are made once.

    user  name and value that every message carries
    """

    def __init__(self, user: tuple[str, str]) -> None:
        self._user = user
        self._made: dict[int | None, tuple[Properties, int]] = {}

    def properties(self, message: Message) -> tuple[Properties, int]:
        """Return the MQTT 5 properties of ``message``, and how many bytes they are in a packet."""
        kept = None if message.correlation else self._made.get(message.expires_s)
        if kept is not None:
            return kept
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
    """Return what checks the broker and shows who we are. Raises ConfigError.

    Signature, dates, name and purpose are checked, and that what signs may sign, alike on every
    Python. 3.13 sets VERIFY_X509_STRICT by itself, which refuses what mosquitto-tls(7) tells people
    to make: nothing is safer for it, a certificate that carries no key identifier is as hard to
    forge. VERIFY_X509_PARTIAL_CHAIN, of 3.13 too: what is in ca_file is trusted, whether it has
    signed itself or not. Source: OpenSSL, X509_VERIFY_PARAM_set_flags(3).
    """
    texts = {key: _pem(key, getattr(tls, key)) for key in ("ca_file", "cert_file", "key_file")}
    authorities = texts["ca_file"].encode("ascii", "ignore").decode()  # comments may be anything
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
                expected="PEM, the key that of the certificate and without a pass phrase",
            ) from exc
    return made


def _pem(key: str, path: str) -> str:
    """Return the text of the file that ``key`` names; empty where it names none."""
    if not path:
        return ""
    try:
        return files.read(Path(path), files.TEXT_MAX_BYTES).decode("utf-8", "replace")
    except OSError as exc:
        where = f"mqtt.{key} {path}"
        raise ConfigError(f"file cannot be read: {exc.strerror}", where=where) from exc


def _no_password() -> str:
    """Keep OpenSSL from asking at a terminal."""
    return ""


def reason(error: BaseException | None) -> str:
    """Return why there is no connection, in the words of what knows it best."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return str(error or "")
