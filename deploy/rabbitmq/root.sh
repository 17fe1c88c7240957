#!/usr/bin/env bash
# Makes FOLDER/root: Debian 13 with rabbitmq-server, which Debian 12 has too old (3.10: no MQTT 5).
#
#   deploy/rabbitmq/root.sh FOLDER
#
# Does nothing where it exists, made by this file. Packages come from the mirror that this machine's
# apt is configured with; 200 MB. Needs root. Nothing in it is started, nothing here is installed.
set -euo pipefail

folder=$1
want=$(sha256sum <"$0")
if [ -f "$folder/.complete" ] && [ "$(cat "$folder/.complete")" = "$want" ]; then
  exit 0
fi
# shellcheck disable=SC2016  # apt's own variables
mirror=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' |
  sed -n 's/ Debian Debian$//p' | head -n 1)
if [ -z "$mirror" ]; then
  echo "cluster: apt has no Debian archive here; run apt-get update on Debian" >&2
  exit 69
fi
echo "cluster: making $folder/root: Debian 13 with rabbitmq-server" >&2
rm -rf "$folder"
mkdir -p "$folder"
unshare --mount --propagation private \
  mmdebstrap --quiet --mode=root --variant=minbase --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --include=rabbitmq-server,iproute2,nftables trixie "$folder/root" "deb $mirror trixie main"
rm -rf "$folder"/root/var/cache/apt/archives/*.deb "$folder"/root/var/lib/apt/lists/*
printf '%s\n' "$want" >"$folder/.complete"
