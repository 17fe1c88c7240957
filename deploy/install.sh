#!/usr/bin/env bash
# make install: builds the Debian package for this machine, and installs it through apt.
#
#   deploy/install.sh [WHEEL [OPENCV]]
#
# WHEEL is the TensorFlow Lite that the package carries: a file, or "pypi", the default. OPENCV is a file,
# "pypi" or "debian"; by default what `make opencv` has put into build/dist, else pypi, for which nothing is
# compiled (where PyPI has none, debian). What is wrong with this machine or WHEEL is reported before anything is installed. Exit status: 64 this
# machine is not supported; 65 not a wheel for it; 69 something is missing here or on PyPI; 70 the
# package could not be built; 74 apt could not install it.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly PACKAGE=edge-camera
readonly PYTHON=${PYTHON:-/usr/bin/python3}
readonly OS=${OS_RELEASE:-/etc/os-release}
export PYTHON

say() { printf 'install: %s\n' "$*"; }

# fail STATUS TEXT...
fail() {
  printf 'install: %s\n' "${*:2}" >&2
  exit "$1"
}

# value NAME: a value of os-release.
value() (
  # shellcheck source=/dev/null
  . "$OS" && printf '%s' "${!1-}"
)

# build [OPTION...]: the package for this machine.
build() {
  "$PYTHON" -B -m deploy.package.build --arch="$arch" --suite="$suite" --runtime="$wheel" \
    --opencv="$opencv" "$@"
}

# machine: this architecture as the names of wheels have it.
machine() {
  case $arch in
    amd64) echo x86_64 ;;
    arm64) echo aarch64 ;;
    armhf) echo armv7l ;;
  esac
}

# state: what the service does, on one line.
state() {
  local active text
  if [ ! -d /run/systemd/system ]; then
    echo "starts with the system: systemd does not run here"
    return
  fi
  active=$(systemctl show --property=ActiveState --value $PACKAGE)
  text=$(systemctl show --property=StatusText --value $PACKAGE)
  [ -n "$text" ] || text=$("${root[@]}" journalctl -q -u $PACKAGE -p warning -n 1 -o cat || true)
  echo "$active${text:+: $text}"
}

wheel=${1:-pypi}
for program in dpkg apt-get; do
  command -v $program >/dev/null || fail 69 "no $program here: this needs Raspberry Pi OS or Debian"
done
arch=$(dpkg --print-architecture) suite=$(value VERSION_CODENAME)
case $arch in
  amd64 | arm64 | armhf) ;;
  *) fail 64 "unsupported architecture: expected arm64, armhf or amd64, got $arch" ;;
esac
case $(value ID)-$suite in
  debian-bookworm | debian-trixie | raspbian-bookworm | raspbian-trixie) ;;
  *)
    fail 64 "unsupported system: expected Raspberry Pi OS or Debian, 12 or 13 (bookworm or trixie)," \
      "got $(value PRETTY_NAME)"
    ;;
esac
root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail 69 "apt needs root, and sudo is missing: run this as root"
  root=(sudo)
fi
opencv=${2:-}
if [ -z "$opencv" ] && ! compgen -G "build/dist/edge_opencv-*-linux_$(machine).whl" >/dev/null; then
  [ "$arch" = armhf ] && opencv=debian || opencv=pypi
fi
[ ! -x "$PYTHON" ] || build --check

deploy/setup.sh install || fail 69 "what builds the package could not be installed, see above"
build
version=$("$PYTHON" -B -c 'from edge import __version__; print(__version__)')
package=build/dist/${PACKAGE}_$version~deb$(value VERSION_ID)_$arch.deb
apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y
  -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0)
"${root[@]}" "${apt[@]}" update
# What the package recommends, without what those recommend: libraries for screens.
packages=("./$package")
for name in $(dpkg-deb -f "$package" Recommends | tr ',' ' '); do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ] || continue
  [ -z "$(apt-cache madison "$name")" ] || packages+=("$name") # apt knows a version of it
done
page=build/dist/$PACKAGE-web_$version~deb$(value VERSION_ID)_all.deb
show="sudo apt install ./$page"
if [ "$(dpkg-query -W -f '${db:Status-Status}' $PACKAGE-web 2>/dev/null)" = installed ]; then
  packages+=("./$page")
  show=http://127.0.0.1:8080/
fi
# An edited config is kept; the same version is installed again, since its files may differ.
"${root[@]}" "${apt[@]}" -o Dpkg::Options::=--force-confold --no-install-recommends --reinstall \
  install "${packages[@]}" ||
  fail 74 "apt could not install $package, see above"

say "$PACKAGE $(dpkg-query -W -f '${Version}' $PACKAGE) is installed"
say "service $PACKAGE: $(state)"
say "config: /etc/$PACKAGE/edge.toml; after a change: sudo systemctl restart $PACKAGE"
say "health: sudo edge doctor"
say "page: $show; see docs/web.md"
