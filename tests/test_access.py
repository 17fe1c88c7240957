"""Connections to a broker: TLS, WebSockets, both protocols, logins, and refusals."""

from __future__ import annotations

import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker, free_port
from edge import config as configs
from edge.errors import ConfigError, PublishError
from edge.messages import Broker, Tls
from edge.mqtt import subscribe
from edge.mqtt.access import Access, context
from tests.certificates import Authority, Pair
from tests.conftest import Daemon, edge, wait_until

Start = Callable[..., Daemon]
pytestmark = [  # paho leaves the socket of a failed handshake to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the broker's certificate."""
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


def encrypted(pair: Pair, authority: Authority, *more: str) -> PrivateBroker:
    """Return a broker whose certificate is ``pair``."""
    files = (f"cafile {authority.cert}", f"certfile {pair.cert}", f"keyfile {pair.key}")
    return PrivateBroker(*files, *(more or ("allow_anonymous true",)))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[PrivateBroker]:
    """A broker with TLS."""
    with encrypted(authority.sign("broker"), authority) as running:
        yield running


def reach(broker: PrivateBroker, tls: Tls | None, host: str = "127.0.0.1") -> None:
    """Connect once. Raises PublishError."""
    subscribe(Broker(host, broker.port, tls=tls), ["#"], lambda *_: None, lambda _: None)()


def test_tls_with_the_right_authority(
    secure: PrivateBroker, authority: Authority, daemon: Start, rgb: Path
) -> None:
    """The daemon connects, and a subscriber by the same config sees it."""
    config = f'[mqtt]\ntls = true\nca_file = "{authority.cert}"\n'
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", secure.address,
                     config=config)  # fmt: skip
    running.wait_for_log("connected")
    toml = running.log.parent / "edge.toml"
    arguments = ("--config", toml, "--broker", secure.address, "--seconds", "2")
    assert "availability online" in edge("watch", *arguments).stdout


def test_a_strange_authority_is_refused(secure: PrivateBroker, tmp_path: Path) -> None:
    """It is signed by an authority that the client does not trust."""
    other = Authority(tmp_path, "other")
    with pytest.raises(PublishError, match="certificate is not accepted: self-signed certificate"):
        reach(secure, Tls(ca_file=str(other.cert)))
    with pytest.raises(PublishError, match="certificate is not accepted"):
        reach(secure, Tls())  # the system's authorities


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    """It expired yesterday."""
    with (
        encrypted(authority.sign("old", days=-1), authority) as broker,
        pytest.raises(PublishError, match="certificate has expired"),
    ):
        reach(broker, Tls(ca_file=str(authority.cert)))


def test_a_wrong_name_is_refused(authority: Authority) -> None:
    """A certificate for another host."""
    with (
        encrypted(authority.sign("else", address="DNS:broker.example"), authority) as broker,
        pytest.raises(PublishError, match="IP address mismatch"),
    ):
        reach(broker, Tls(ca_file=str(authority.cert)))


def test_any_certificate_is_accepted_by_its_own_key_alone(
    secure: PrivateBroker, authority: Authority, daemon: Start, rgb: Path
) -> None:
    """The daemon warns and connects."""
    config = "[mqtt]\ntls = true\naccept_any_certificate = true\n"
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", secure.address,
                     config=config)  # fmt: skip
    running.wait_for_log("connected")
    assert "any server is trusted" in running.log.read_text()


def test_a_refused_certificate_is_logged_once_and_the_daemon_goes_on(
    secure: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """One line with the address and why."""
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", secure.address,
                     config="[mqtt]\ntls = true\nreconnect_s = 1\n")  # fmt: skip
    running.wait_for_log("green -> blue")
    log = running.log.read_text()
    assert log.count("its certificate is not accepted") == 1
    assert f"broker {secure.address}: cannot be reached" in log


def test_tls_and_plain_tcp_do_not_mix(broker: PrivateBroker, secure: PrivateBroker) -> None:
    """A client with TLS on a broker without it, and the reverse: neither hangs nor connects."""
    with pytest.raises(PublishError, match=r"TLS: |cannot be reached"):
        reach(broker, Tls())
    states: list[str] = []
    end = subscribe(Broker("127.0.0.1", secure.port), ["#"], lambda *_: None, states.append)
    end()
    assert "" not in states  # never connected


def test_client_certificates(authority: Authority) -> None:
    """The client sends its own where a broker requires one."""
    more = ("require_certificate true", "use_identity_as_username true")
    with encrypted(authority.sign("asking"), authority, *more) as broker:
        mine = authority.sign("porch")
        states: list[str] = []
        tls = Tls(str(authority.cert), str(mine.cert), str(mine.key))
        end = subscribe(
            Broker(broker.host, broker.port, tls=tls), ["#"], lambda *_: None, states.append
        )
        wait_until(lambda: "" in states, lambda: states)
        end()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_websockets_and_both_protocols(protocol: str, daemon: Start, rgb: Path) -> None:
    """The daemon connects over WebSockets in either protocol."""
    # mosquitto 2.0.11 does not start with a WebSockets listener alone
    second = f"listener {free_port()} 127.0.0.1"
    with PrivateBroker("protocol websockets", second, "allow_anonymous true") as broker:
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config=f'[mqtt]\nprotocol = "{protocol}"\ntransport = "websockets"\n',
        )
        running.wait_for_log("connected")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda folder: Tls(ca_file=str(folder / "none.pem")), ["mqtt.ca_file", "cannot be read"]),
        (lambda folder: Tls(ca_file=str(folder / "text")), ["mqtt.ca_file", "expected PEM"]),
        (lambda folder: Tls(cert_file=str(folder / "text")), ["mqtt.cert_file", "expected PEM"]),
    ],
)
def test_files_that_are_no_certificates(
    made: Callable[[Path], Tls], words: list[str], tmp_path: Path
) -> None:
    """Reported at the start, with key and file."""
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(ConfigError) as caught:
        context(made(tmp_path))
    assert all(word in str(caught.value) for word in words)


def test_a_key_with_a_pass_phrase_is_refused(authority: Authority, tmp_path: Path) -> None:
    """OpenSSL would read it from the terminal, and a service has none."""
    pair = authority.sign("locked")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(pair.key), "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="without a pass phrase"):
        context(Tls(cert_file=str(pair.cert), key_file=str(locked)))


def test_verification_is_on_by_default() -> None:
    """The default context checks issuer, date and name."""
    assert context(Tls()).verify_mode == ssl.CERT_REQUIRED
    assert context(Tls()).check_hostname
    assert context(Tls(accept_any_certificate=True)).verify_mode == ssl.CERT_NONE


def test_a_login_from_a_systemd_credential(daemon: Start, rgb: Path, tmp_path: Path) -> None:
    """User name in the config, password in $CREDENTIALS_DIRECTORY; never logged."""
    passwords = tmp_path / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", str(passwords), "porch", "hunter2"]
    subprocess.run(command, check=True, capture_output=True)
    passwords.chmod(stat.S_IRUSR | stat.S_IWUSR)
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "mqtt-password").write_text("hunter2\n")
    with PrivateBroker("allow_anonymous false", f"password_file {passwords}") as broker:
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config='[mqtt]\nusername = "porch"\n',
            CREDENTIALS_DIRECTORY=str(folder),
        )
        running.wait_for_log("connected")
        assert "hunter2" not in running.log.read_text()
        running.stop()


def test_an_empty_credential_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit passes an empty line where a credential is not set."""
    for name in ("password", "ca", "cert", "key"):
        (tmp_path / f"mqtt-{name}").write_text("\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    broker = configs.broker(configs.MqttConfig(username="porch", tls=True))

    assert (broker.password, broker.tls) == ("", Tls())


def test_authority_and_key_from_systemd_credentials(
    authority: Authority, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """A service's own user cannot read a key of root's: systemd passes it."""
    mine = authority.sign("hall")
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, file in (("ca", authority.cert), ("cert", mine.cert), ("key", mine.key)):
        (folder / f"mqtt-{name}").write_bytes(Path(file).read_bytes())
    more = ("require_certificate true", "use_identity_as_username true")
    with encrypted(authority.sign("strict"), authority, *more) as broker:
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config="[mqtt]\ntls = true\n",
            CREDENTIALS_DIRECTORY=str(folder),
        )
        running.wait_for_log("connected")
        running.stop()


def test_the_password_is_in_no_representation() -> None:
    """A record in a traceback does not show it."""
    assert "hunter2" not in repr(Broker("h", 1, username="me", password="hunter2"))
    access = Access(Broker("h", free_port(), username="me", password="hunter2"))
    assert "hunter2" not in repr(vars(access))
