#!/bin/sh
# First process of the emulated machine: loads drivers, sets up the network, starts systemd.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
while read -r module parameters; do
  # shellcheck disable=SC2086  # several parameters
  insmod "/modules/$module" $parameters || echo "init: $module $parameters cannot be loaded"
done </modules/order
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
mount -t ext4 /dev/vda /root || poweroff -f
umount /proc
exec switch_root /root /sbin/init
