"""`make credentials`: what is kept, replaced and revoked; who may read it; any CA's files."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from deploy.credentials.ledger import Device, Ledger
from tests import cards
from tests.certificates import Authority
from tests.conftest import ROOT

PLAIN = '[edge.mqtt]\nhost = "broker.example"\n'
TLS = PLAIN + "tls = true\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Three devices without anything given."""
    path = tmp_path / "devices.csv"
    path.write_text("name,host\nporch,\nwall,\nshed,\n")
    return path


def make(
    csv: Path, *options: str, site: str = PLAIN, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `make credentials`, with that CONFIG."""
    config = csv.with_name("site.toml")
    config.write_text(site)
    done = cards.credentials(csv, "--config", str(config), *options)
    assert done.returncode == status, done
    assert len(done.stderr.splitlines()) == (status != 0), done
    return done


def devices(csv: Path) -> dict[str, Device]:
    """Return all devices of a ledger."""
    with Ledger(csv) as ledger:
        return {device.name: device for device in ledger.devices()}


def passwords(csv: Path) -> dict[str, str]:
    """Return the credentials that wait for a card."""
    return {name: json.loads(one.credential or "{}").get("password", "")
            for name, one in devices(csv).items()}  # fmt: skip


def test_config_and_kind_are_those_of_the_run_before(csv: Path) -> None:
    """REVOKE alone does not need them, and leaves the cards of the others as they were."""
    make(csv, "--auth", "certificate", site=TLS)
    before = {name: one.files for name, one in devices(csv).items()}
    done = cards.credentials(csv, "--revoke", "porch")
    assert (done.returncode, done.stderr) == (0, "")
    after = {name: one.files for name, one in devices(csv).items()}
    assert (after["wall"], after["shed"]) == (before["wall"], before["shed"])
    csv.with_name("site.toml").unlink()
    done = cards.credentials(csv)
    assert done.returncode == 78
    assert "site.toml" in done.stderr


def test_a_device_keeps_its_credential(csv: Path) -> None:
    """Run twice, with another row, another order or another CONFIG: the password stays."""
    make(csv)
    before = passwords(csv)
    assert len({*before.values()}) == 3
    make(csv)
    assert passwords(csv) == before
    csv.write_text("host,name\n,shed\nporch-cam,porch\n,wall\n,cellar\n")
    make(csv, site=PLAIN.replace("broker", "other"))
    after = passwords(csv)
    assert {name: after[name] for name in before} == before
    made = devices(csv)
    assert [*made] == ["shed", "porch", "wall", "cellar"]
    assert made["porch"].host == "porch-cam"
    assert "other.example" in made["porch"].files


def test_nothing_is_readable_by_others(csv: Path, tmp_path: Path) -> None:
    """Every file with anything in it is its owner's alone; no secret is printed."""
    done = make(csv, "--auth", "certificate", site=TLS)
    top = tmp_path / "devices.credentials"
    assert stat.S_IMODE(top.stat().st_mode) == 0o700
    for name in ("ledger.sqlite", "ca/ca.key", "broker/broker.key", "broker/passwords"):
        assert stat.S_IMODE((top / name).stat().st_mode) == 0o600, name
    keys = [json.loads(one.credential)["key"] for one in devices(csv).values()]
    assert len({*keys}) == 3
    assert not [key for key in keys if key.splitlines()[1] in done.stdout]
    text = b"".join(f.read_bytes() for f in top.rglob("*") if f.is_file() and f.suffix != ".sqlite")
    assert not [key for key in keys if key.splitlines()[1].encode() in text]


def test_the_certificates_are_good_by_strict_rules(csv: Path, tmp_path: Path) -> None:
    """For clients only, or for the broker's name only; a device's name is its common name."""
    make(csv, "--auth", "certificate", site=TLS)
    top = tmp_path / "devices.credentials"
    serials = set()
    for name, device in devices(csv).items():
        cert = tmp_path / f"{name}.crt"
        cert.write_text(json.loads(device.credential)["cert"])
        check = [*("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-crl_check")]
        check += [
            "-CAfile",
            str(top / "ca" / "ca.crt"),
            "-CRLfile",
            str(top / "broker" / "crl.pem"),
        ]
        subprocess.run([*check, str(cert)], check=True, capture_output=True)
        check[check.index("sslclient")] = "sslserver"
        assert subprocess.run([*check, str(cert)], check=False, capture_output=True).returncode
        shown = subprocess.run(
            ["openssl", "x509", "-noout", "-subject", "-in", cert], capture_output=True, check=True
        )
        assert shown.stdout.decode().strip() == f"subject=CN = {name}"
        assert (top / "ca" / "issued" / f"{device.serial}.pem").is_file()
        serials.add(device.serial)
    assert len(serials) == 3
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    verify += [str(top / "broker" / "ca.crt"), "-verify_hostname", "broker.example"]
    subprocess.run([*verify, str(top / "broker" / "broker.crt")], check=True, capture_output=True)


def test_the_brokers_certificate_is_made_again_only_where_it_must(
    csv: Path, tmp_path: Path
) -> None:
    """For another host, not for another run; the authority stays."""
    make(csv, "--auth", "certificate", site=TLS)
    cert = tmp_path / "devices.credentials" / "broker" / "broker.crt"
    before, ca = cert.read_text(), (cert.parent / "ca.crt").read_text()
    assert "made a certificate" not in make(csv, site=TLS).stdout
    assert cert.read_text() == before
    other = make(csv, site=TLS.replace("broker.example", "192.168.1.10"))
    assert "made a certificate for the broker 192.168.1.10" in other.stdout
    assert cert.read_text() != before
    assert (cert.parent / "ca.crt").read_text() == ca


def test_an_authority_that_is_away_is_not_made_again(csv: Path, tmp_path: Path) -> None:
    """On a disk that is not there: refused. A folder that has been moved is found where it is."""
    away = tmp_path / "disk"
    make(csv, "--auth", "certificate", "--ca", str(away), site=TLS)
    away.rename(tmp_path / "elsewhere")
    done = make(csv, site=TLS, status=66)
    assert f"{away}: the authority is not there: expected the one that signed" in done.stderr
    assert not away.exists()
    make(csv, "--ca", str(tmp_path / "elsewhere"), site=TLS)
    other = tmp_path / "other" / "fleet.csv"
    other.parent.mkdir()
    other.write_bytes(csv.read_bytes())
    make(other, "--auth", "certificate", site=TLS)
    moved = tmp_path / "moved"
    ca = (other.parent / "fleet.credentials" / "ca" / "ca.crt").read_text()
    other.parent.rename(moved)
    make(moved / "fleet.csv", "--replace", "porch", site=TLS)
    assert (moved / "fleet.credentials" / "ca" / "ca.crt").read_text() == ca
    assert not other.parent.exists()


def test_files_of_any_authority_are_used(tmp_path: Path) -> None:
    """Checked against each other and the name; no authority of our own is made."""
    other = Authority(tmp_path, "other")
    for name in ("porch", "wall"):
        other.sign(name)
    other.sign("old", days=-1)
    (tmp_path / "old.crt").rename(tmp_path / "late.crt")
    csv = tmp_path / "devices.csv"
    site = f'[broker]\nca_file = "other.crt"\n{TLS}'
    rows = "name,cert,key\nporch,porch.crt,porch.key\nwall,wall.crt,wall.key\n"
    refused = {
        "wall.crt,porch.key": "row 3, column key: the same key as in row 2",
        "porch.crt,wall.key": "row 3, column cert: the same cert as in row 2",
        "other.crt,other.key": "column cert: a certificate for another device: expected the common",
        "wall.crt,other.key": "row 3, column key: not the key of this certificate: got other.key",
        "wall.key,wall.crt": "row 3, column cert: wrong kind of file: expected PEM with a cert",
        "devices.csv,wall.key": "row 3, column cert: wrong kind of file",
    }
    for files, line in refused.items():
        csv.write_text(rows.replace("wall.crt,wall.key", files))
        done = make(csv, "--auth", "certificate", site=site, status=78)
        assert line in done.stderr
    (tmp_path / "copy.key").write_bytes((tmp_path / "porch.key").read_bytes() + b"\n")
    other.sign("both", key=tmp_path / "porch.key")
    csv.write_text("name,cert,key\nporch,porch.crt,porch.key\nboth,both.crt,copy.key\n")
    done = make(csv, "--auth", "certificate", site=site, status=78)
    assert "row 3, column cert: the same key as in row 2: got both.crt" in done.stderr
    csv.write_text("name,cert,key\nold,late.crt,old.key\n")
    done = make(csv, "--auth", "certificate", site=site, status=78)
    assert "row 2, column cert: an expired certificate: got late.crt" in done.stderr
    csv.write_text(rows)
    make(csv, "--auth", "certificate", site=site)
    assert not (tmp_path / "devices.credentials" / "ca").exists()
    assert (tmp_path / "porch.key").read_text().strip() in json.loads(
        devices(csv)["porch"].credential
    )["key"]
    done = make(csv, "--auth", "certificate", "--revoke", "porch", site=site)
    assert "porch: its certificate is of another authority: revoke it there" in done.stdout
    done = make(csv, "--replace", "porch", site=site, status=78)
    assert (
        "row 2, column cert: was the credential of porch: got porch.crt; each is used once"
        in done.stderr
    )


def test_a_password_is_used_once(csv: Path) -> None:
    """One that was revoked is not accepted again, for this device or for another."""
    csv.write_text("name,password\nporch,one and only\nwall,\n")
    make(csv)
    make(csv, "--revoke", "porch")
    csv.write_text("name,password\nporch,\nwall,one and only\n")
    done = make(csv, "--replace", "wall", status=78)
    assert "row 3, column password: was the credential of porch; each is used once" in done.stderr
    assert "one and only" not in done.stderr
    csv.write_text("name,password\nporch,another\nwall,\n")
    make(csv, "--replace", "porch")
    assert passwords(csv)["porch"] == "another"
    assert devices(csv)["porch"].state == "ready"


def test_a_row_that_is_gone_stays_valid_until_it_is_revoked(csv: Path, tmp_path: Path) -> None:
    """It is no longer written, the broker still knows it, and each run says so."""
    make(csv)
    csv.write_text("name\nwall\nshed\n")
    line = "porch is no longer in the CSV, but valid: REVOKE=porch ends it"
    assert line in make(csv).stdout
    logins = tmp_path / "devices.credentials" / "broker" / "passwords"
    assert "porch:" in logins.read_text()
    with Ledger(csv) as ledger:
        following = ledger.next()
        assert following is not None
        assert following.name == "wall"
    done = make(csv, "--revoke", "porch")
    assert line not in done.stdout
    assert "porch:" not in logins.read_text()
    assert re.fullmatch(r"(wall|shed):\$7\$101\$[^$]+\$[^$]+\n" * 2, logins.read_text())


@pytest.mark.parametrize(
    ("options", "site", "status", "line"),
    [
        (
            ("--auth", "magic"),
            PLAIN,
            64,
            "unknown AUTH: expected password or certificate, got magic",
        ),
        (
            ("--auth", "certificate"),
            PLAIN,
            78,
            "edge.mqtt.tls: certificates need TLS: expected true",
        ),
        (("--revoke", "cellar"), PLAIN, 66, "no such device: got cellar"),
        (("--replace", "cellar"), PLAIN, 66, "no such row: got cellar; REVOKE=cellar ends"),
        (("--replace", "a", "--revoke", "b"), PLAIN, 64, "both REPLACE and REVOKE"),
        ((), 'secrets = true\n[broker]\npassword = "x"\n', 78, "one credential for all devices"),
        ((), "[edge.mqtt]\nprot = 1\n", 78, "mqtt.prot: unknown key"),
        ((), "[edge.mqtt]\nusername = 3\n", 78, "mqtt.username: wrong value"),
    ],
)
def test_what_contradicts_itself_is_one_line(
    csv: Path, options: tuple[str, ...], site: str, status: int, line: str
) -> None:
    """Before any credential is made."""
    assert line in make(csv, *options, site=site, status=status).stderr
    assert not list(csv.parent.glob("*.credentials/broker/passwords"))


def test_passwords_in_a_readable_csv_are_pointed_out(csv: Path) -> None:
    """It is the user's file: one line, and no more."""
    csv.write_text("name,password\nporch,secret\n")
    csv.chmod(0o644)
    assert "others may read the passwords in" in make(csv).stdout
    csv.chmod(0o600)
    assert "others may read" not in make(csv).stdout


def test_a_clone_does_not_commit_them() -> None:
    """The folder is ignored by git, wherever it is."""
    done = subprocess.run(
        ["git", "check-ignore", "devices.credentials/ledger.sqlite", "a/b.credentials/ca/ca.key"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 2
