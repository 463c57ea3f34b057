#!/bin/busybox sh
# The whole guest: drivers, a network card, a power button, and a little work for the statistics to show.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo 3 >/proc/sys/kernel/printk

while read -r module; do
  insmod "/modules/$module"
done </modules/order

acpid -l /tmp/acpid.log

ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  # A link-local address that follows from the card's own, so that no two guests share one.
  mac=$(cat /sys/class/net/eth0/address)
  ip address add "169.254.$(printf '%d.%d' "0x$(echo "$mac" | cut -d: -f5)" "0x$(echo "$mac" | cut -d: -f6)")/16" \
    dev eth0
  ip link set eth0 up
fi

echo "LAB GUEST UP"
count=0
while true; do
  count=$((count + 1))
  if [ -b /dev/vda ]; then
    dd if=/dev/vda of=/dev/null bs=64k count=2 iflag=direct 2>/dev/null
    echo "$count" | dd of=/dev/vda bs=4k seek=64 conv=sync,fsync,notrunc 2>/dev/null
  fi
  if [ -e /sys/class/net/eth0 ]; then
    arping -q -c 1 -w 1 -I eth0 169.254.255.254
  fi
  usleep 300000
done
