"""`make credentials` with other files or another run in the way, or an end in the middle."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.credentials import build
from deploy.credentials.authority import Authority, openssl
from deploy.credentials.ledger import Ledger
from deploy.runtime.pins import BuildError
from tests import cards, certificates
from tests.conftest import ROOT, wait_until

TLS = '[edge.mqtt]\nhost = "broker.example"\ntls = true\n'


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Two devices without anything given, and their CONFIG."""
    path = tmp_path / "devices.csv"
    path.write_text("name\nporch\nwall\n")
    (tmp_path / "site.toml").write_text(TLS)
    return path


def make(csv: Path, *options: str, status: int = 0) -> str:
    """Run `make credentials`; return its last line."""
    config = ("--config", str(csv.parent / "site.toml"))
    done = cards.credentials(csv, *config, *options)
    assert done.returncode == status, done
    assert len(done.stderr.splitlines()) == (status != 0), done
    return (done.stderr or done.stdout).splitlines()[-1]


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "openssl.cnf", "index.txt"])
def test_an_authority_of_other_hands_is_not_written_over(
    csv: Path, tmp_path: Path, name: str
) -> None:
    """CA= may name a folder where somebody's own ca.key lies: it is refused and untouched."""
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("")
    line = make(csv, "--auth", "certificate", "--ca", str(other), status=65)
    assert f"{other}: files that `make credentials` has not made: expected an empty" in line
    assert [path.name for path in other.iterdir()] == [name]
    assert (other / name).read_text() == ""


def test_an_authority_that_was_begun_is_made(csv: Path, tmp_path: Path) -> None:
    """The end of a run before its crl.pem: nothing has been signed by it, so it is made again."""
    Authority(tmp_path / "ca").close()
    (tmp_path / "ca" / "crl.pem").unlink()
    assert "2 to write" in make(csv, "--auth", "certificate", "--ca", str(tmp_path / "ca"))


def test_two_lists_share_an_authority_one_after_the_other(csv: Path, tmp_path: Path) -> None:
    """At the same time the second is refused: a revocation of the other could be lost."""
    shared = Authority(tmp_path / "ca")
    options = ("--auth", "certificate", "--ca", str(tmp_path / "ca"))
    assert f"{tmp_path / 'ca'}: another run uses it" in make(csv, *options, status=73)
    shared.close()
    make(csv, *options)
    other = tmp_path / "other.csv"
    other.write_text("name\nshed\n")
    make(other, *options)
    make(csv, "--revoke", "porch")
    index = (tmp_path / "ca" / "index.txt").read_text().splitlines()
    assert sorted((line[0], line.rpartition("/CN=")[2]) for line in index) == [
        ("R", "porch"),
        ("V", "broker.example"),
        ("V", "broker.example"),
        ("V", "shed"),
        ("V", "wall"),
    ]


def test_a_list_stays_with_its_authority(csv: Path, tmp_path: Path) -> None:
    """A wrong CA= neither makes another authority nor is remembered; what is valid can be ended."""
    make(csv, "--auth", "certificate")
    line = make(csv, "--revoke", "porch", "--ca", str(tmp_path / "typo"), status=66)
    assert f"{tmp_path / 'typo'}: the authority is not there: expected the one that signed" in line
    assert not (tmp_path / "typo").exists()
    Authority(tmp_path / "other").close()
    line = make(csv, "--revoke", "porch", "--ca", str(tmp_path / "other"), status=66)
    assert f"{tmp_path / 'other'}: another authority: expected the one that signed" in line
    make(csv, "--revoke", "porch")
    index = (tmp_path / "devices.credentials" / "ca" / "index.txt").read_text()
    assert [row[0] for row in index.splitlines() if row.endswith("/CN=porch")] == ["R"]


def test_the_brokers_key_is_always_that_of_its_certificate(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends between the two files: the next one makes both again."""
    make(csv, "--auth", "certificate")
    broker = tmp_path / "devices.credentials" / "broker"
    authority = Authority(tmp_path / "devices.credentials" / "ca")

    def once(path: Path, content: bytes, mode: int) -> None:
        path.write_bytes(content)
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.credentials.authority.files.replace", once)
    with pytest.raises(KeyboardInterrupt):
        authority.server("another.example", broker)
    authority.close()
    monkeypatch.undo()
    make(csv)
    public = openssl("pkey", "-pubout", "-in", broker / "broker.key")
    assert openssl("x509", "-noout", "-pubkey", "-in", broker / "broker.crt") == public
    assert stat.S_IMODE((broker / "broker.key").stat().st_mode) == 0o600


def test_a_key_beside_a_certificate_is_not_put_where_all_may_read(
    csv: Path, tmp_path: Path
) -> None:
    """One PEM file with both, as some programs write it: refused, in a row and in CONFIG."""
    other = certificates.Authority(tmp_path, "other")
    other.sign("porch")
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "porch.crt").read_text() + (tmp_path / "porch.key").read_text())
    csv.write_text("name,cert,key\nporch,both.pem,porch.key\n")
    (tmp_path / "site.toml").write_text(f'{TLS}[broker]\nca_file = "other.crt"\n')
    line = make(csv, "--auth", "certificate", status=78)
    assert "row 2, column cert: a private key beside the certificate: expected cert" in line
    assert "BEGIN" not in line
    (tmp_path / "site.toml").write_text(f'{TLS}[broker]\nca_file = "both.pem"\n')
    line = make(csv, "--auth", "certificate", status=78)
    assert "site.toml: broker.ca_file: a private key beside the certificate" in line


def test_the_brokers_certificate_is_for_its_host_alone(csv: Path, tmp_path: Path) -> None:
    """An address in brackets is one; what is neither name nor address is refused."""
    (tmp_path / "site.toml").write_text(TLS.replace("broker.example", "a;b"))
    line = make(csv, "--auth", "certificate", status=78)
    assert "edge.mqtt.host: not a host name or address: got a;b" in line
    cert = tmp_path / "devices.credentials" / "broker" / "broker.crt"
    assert not cert.exists()
    (tmp_path / "site.toml").write_text(TLS.replace("broker.example", "[::1]"))
    make(csv, "--auth", "certificate")
    assert "IP Address:0:0:0:0:0:0:0:1" in openssl("x509", "-noout", "-text", "-in", cert)


def test_a_user_name_that_is_still_valid_is_nobody_elses(csv: Path) -> None:
    """A device that is gone from the CSV, but not revoked, keeps its login for itself."""
    csv.write_text("name,username\nporch,one\nwall,\n")
    make(csv)
    csv.write_text("name,username\nwall,\nshed,one\n")
    line = make(csv, status=78)
    assert "row 3, column username: the user name of porch, which is still valid: got one" in line
    csv.write_text("name,username\nwall,\n")
    make(csv, "--revoke", "porch")
    csv.write_text("name,username\nwall,\nshed,one\n")
    make(csv)


def test_revoking_does_not_wait_for_good_rows(csv: Path, tmp_path: Path) -> None:
    """The broker's files lack the device, whatever is wrong with a row of another."""
    make(csv)
    assert "no such device: got cellar" in make(csv, "--revoke", "cellar", status=66)
    logins = tmp_path / "devices.credentials" / "broker" / "passwords"
    for name, rows, line, left in (
        ("porch", "name,ssh_key\nporch,\nwall,rubbish\n", "ssh_key: not a public key", ["wall"]),
        ("wall", "name\nwall\nwall\n", "the same name as in row 2", []),
    ):
        csv.write_text(rows)
        assert line in make(csv, "--revoke", name, status=78)
        assert [user.partition(":")[0] for user in logins.read_text().splitlines()] == left


def test_replacing_never_leaves_a_revoked_certificate_ready(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends between the revocation and the new credential: the next one asks for it."""
    make(csv, "--auth", "certificate")

    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "store", ends)
    config = ("--config", str(tmp_path / "site.toml"))
    assert build.main(["--csv", str(csv), *config, "--replace", "porch"]) == 130
    monkeypatch.undo()
    with Ledger(csv) as ledger:
        assert [one.name for one in ledger.devices("ready")] == ["wall"]
    assert "porch is revoked: REPLACE=porch" in make(csv)
    assert "2 to write" in make(csv, "--replace", "porch")


def test_the_folder_is_made_private_again(csv: Path, tmp_path: Path) -> None:
    """By any run, as after it was copied."""
    make(csv)
    top = tmp_path / "devices.credentials"
    top.chmod(0o755)
    with Ledger(csv):
        assert stat.S_IMODE(top.stat().st_mode) == 0o700


def test_what_is_in_the_place_of_the_folder_is_one_line(csv: Path, tmp_path: Path) -> None:
    """A file, a link to another folder, a folder that another process has locked."""
    top = tmp_path / "devices.credentials"
    top.write_text("")
    assert f"{top}: cannot be opened: File exists" in make(csv, status=74)
    top.unlink()
    (tmp_path / "elsewhere").mkdir()
    top.symlink_to(tmp_path / "elsewhere")
    assert f"{top}: cannot be opened: " in make(csv, status=74)
    assert not list((tmp_path / "elsewhere").iterdir())
    top.unlink()
    make(csv)
    lock = os.open(top, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert f"{top}: another run uses it" in make(csv, status=73)
    os.close(lock)


def test_another_users_folder_is_not_used(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could read every credential; root, who writes the cards, uses it."""
    make(csv)
    monkeypatch.setattr("os.geteuid", lambda: csv.stat().st_uid + 1)
    with pytest.raises(BuildError, match=r"devices\.credentials: the folder of another user"):
        Ledger(csv)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with Ledger(csv) as ledger:
        assert ledger.count("ready") == 2


def test_a_key_in_another_form_is_the_same_key(csv: Path, tmp_path: Path) -> None:
    """What a used or replaced credential was is not accepted as another file."""
    other = certificates.Authority(tmp_path, "other")
    other.sign("porch")
    (tmp_path / "site.toml").write_text(f'{TLS}[broker]\nca_file = "other.crt"\n')
    csv.write_text("name,cert,key\nporch,porch.crt,porch.key\n")
    make(csv, "--auth", "certificate")
    traditional = openssl("pkey", "-traditional", "-in", tmp_path / "porch.key")
    assert traditional != (tmp_path / "porch.key").read_text()
    other.sign("shed", key=tmp_path / "porch.key")
    (tmp_path / "shed.key").write_text(traditional)
    csv.write_text("name,cert,key\nshed,shed.crt,shed.key\n")
    line = make(csv, status=78)
    assert "row 2, column cert: was the credential of porch" in line


def test_an_interrupted_run_changes_no_device(csv: Path, tmp_path: Path) -> None:
    """Ctrl-C while certificates are signed: one line, and the next run makes all of them."""
    names = [f"cam-{number}" for number in range(400)]
    csv.write_text("\n".join(["name", *names, ""]))
    issued = tmp_path / "devices.credentials" / "ca" / "issued"
    command = [*(sys.executable, "-m", "deploy.credentials.build", "--csv", str(csv))]
    command += ["--config", str(tmp_path / "site.toml"), "--auth", "certificate"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: len([*issued.glob("*")]) > 1 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()
    line = "credentials: interrupted; run it again with the same options\n"
    assert (process.returncode, error) == (130, line)
    with Ledger(csv) as ledger:
        assert not [*ledger.devices()]
    csv.write_text("\n".join(["name", *names[:3], ""]))
    assert "3 devices" in make(csv, "--auth", "certificate")
