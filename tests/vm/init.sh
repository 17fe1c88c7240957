#!/bin/sh
# First process of the machine. Its root is an image, or a folder with memory laid over it for
# whatever is written; it runs /run/share/job there, what that says goes to /run/share/log, and its
# status is left beside it.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t tmpfs memory /memory
while read -r module parameters; do
  # shellcheck disable=SC2086  # several parameters
  insmod "/modules/$module" $parameters || echo "init: $module $parameters is not taken"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=524288
if [ "${image:-0}" = 1 ]; then # on the kernel's command line
  mount -t ext4 /dev/vda /root || poweroff -f
else
  mkdir /memory/upper /memory/work
  mount -t 9p -o "ro,cache=loose,$options" root /lower || poweroff -f
  mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /root ||
    poweroff -f
fi
for folder in dev proc sys tmp run var/tmp; do mkdir -p "/root/$folder"; done
mount --bind /dev /root/dev
mkdir -p /dev/shm
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t configfs config /root/sys/kernel/config
for folder in tmp run var/tmp dev/shm; do mount -t tmpfs -o mode=1777 memory "/root/$folder"; done
mkdir /root/run/share
mount -t 9p -o "$options" share /root/run/share || poweroff -f
while read -r tag folder; do
  mkdir -p "/root$folder"
  mount -t 9p -o "ro,cache=loose,$options" "$tag" "/root$folder"
done </root/run/share/folders
ip link set lo up
chroot /root /bin/sh /run/share/job >/root/run/share/log 2>&1
echo $? >/root/run/share/status
sync
poweroff -f
