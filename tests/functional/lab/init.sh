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

for order in /modules/order*; do
  while read -r module; do
    insmod "/modules/$module"
  done <"$order"
done

acpid -l /tmp/acpid.log

ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  # A link-local address that follows from the card's own, so that no two guests share one.
  mac=$(cat /sys/class/net/eth0/address)
  ip address add "169.254.$(printf '%d.%d' "0x$(echo "$mac" | cut -d: -f5)" "0x$(echo "$mac" | cut -d: -f6)")/16" \
    dev eth0
  ip link set eth0 up
fi

# What a guest does of its own accord, for tests that ask for it on the kernel's command line.
play() {
  date -u -s 2001-01-01 >/dev/null
  hwclock -u -w
  # An agent that comes and goes.
  agent=$(grep -l guest_agent /sys/class/virtio-ports/*/name)
  sleep 1 >"/dev/$(basename "$(dirname "$agent")")"
  # A watchdog, Intel's 6300ESB, which is set to two seconds and then forgotten. The kernel has no driver.
  for device in /sys/bus/pci/devices/*; do
    [ "$(cat "$device/device")" = 0x25ab ] || continue
    echo 1 >"$device/enable"
    base=$(head -n 1 "$device/resource" | cut -d ' ' -f 1)
    for timer in 0 4; do
      # Two words unlock a register for one write; of its two timers each has a second.
      devmem $((base + 12)) 16 0x80
      devmem $((base + 12)) 16 0x86
      devmem $((base + timer)) 32 1000
    done
    # Enable.
    printf '\002' | dd of="$device/config" bs=1 seek=104 conv=notrunc 2>/dev/null
  done
  sleep 4
  # A disk that is written from its begin to its end.
  dd if=/dev/zero of=/dev/vdb bs=64k oflag=direct 2>/dev/null
}

# qemu-guest-agent, and what it reports: a name, a time zone, a user (var/run/utmp), file systems.
agent() {
  hostname lab-guest.example
  for disk in /dev/vd?; do
    [ -b "$disk" ] || continue
    mkdir -p "/mnt/${disk#/dev/}"
    mount -t ext4 "$disk" "/mnt/${disk#/dev/}" 2>/dev/null
  done
  while ! name=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name 2>/dev/null); do
    usleep 50000
  done
  TZ=IST-5:30 exec /usr/sbin/qemu-ga -m virtio-serial -p "/dev/$(basename "$(dirname "$name")")" -t /run
}

target="of=/dev/vda seek=64"
case " $(cat /proc/cmdline) " in
*" lab.agent "*)
  agent &
  agent=$!
  echo "$agent" >/run/qemu-ga.pid
  ;;
esac
echo "LAB GUEST UP"
case " $(cat /proc/cmdline) " in
*" lab.play "*) play & ;;
esac
# Memory that is written again and again, faster than a migration with a limit of its bandwidth sends it.
dirty() {
  tr '\0' '\377' </dev/zero | dd of=/tmp/page bs=1M count=4 iflag=fullblock 2>/dev/null
  while true; do
    for place in 0 4 8 12; do
      dd if=/tmp/page of=/tmp/dirty bs=1M seek="$place" conv=notrunc 2>/dev/null
    done
    usleep 100000
  done
}
case " $(cat /proc/cmdline) " in
*" lab.dirty "*) dirty & ;;
esac
count=0
while true; do
  count=$((count + 1))
  if [ -b /dev/vda ]; then
    ! grep -q ' /mnt/vda ' /proc/mounts || target="of=/mnt/vda/work"
    dd if=/dev/vda of=/dev/null bs=64k count=2 iflag=direct 2>/dev/null
    # shellcheck disable=SC2086 # words of dd
    echo "$count" | dd $target bs=4k conv=sync,fsync,notrunc 2>/dev/null
  fi
  if [ -n "$agent" ]; then
    for online in /sys/devices/system/cpu/cpu*/online; do
      [ "$(cat "$online")" = 1 ] || echo 1 >"$online"
    done
  fi
  if [ -e /sys/class/net/eth0 ]; then
    arping -q -c 1 -w 1 -I eth0 169.254.255.254
  fi
  usleep 300000
done
