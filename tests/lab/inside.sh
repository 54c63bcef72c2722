#!/bin/sh
# The first thing that runs in a guest: sh inside.sh MODULES. It makes a root on which the tests can work, and
# runs /run/lab/command there.
#
# virtme-ng gives a guest the host's root over 9p, without a cache: each page of each library is fetched anew
# whenever it is needed (import pyarrow: 24 s). The same root comes a second time, and is mounted so that what
# was read stays read (8 s, with nothing emulated but what must be). Over it lies a layer in memory: tests and
# Python write where they like, and nothing of it reaches the host.
set -eu

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
modules=$1
touch /run/lab/booted

mkdir -p /run/layers/lower /run/layers/memory /run/layers/whole
mount -t tmpfs -o mode=0755 memory /run/layers/memory
mkdir /run/layers/memory/upper /run/layers/memory/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose lab /run/layers/lower
mount -t overlay -o lowerdir=/run/layers/lower,upperdir=/run/layers/memory/upper,workdir=/run/layers/memory/work \
    lab /run/layers/whole
mkdir -m 1777 /run/tests
mount -t tmpfs -o mode=1777 tests /run/tests
export TMPDIR=/run/tests
for below in proc sys dev run; do mount --rbind "/$below" "/run/layers/whole/$below"; done
mkdir -p /run/layers/whole/lib/modules
ln -sfn "$modules" "/run/layers/whole/lib/modules/$(uname -r)"

# Not chroot: whoever is in one may make no user namespace.
cd /run/layers/whole
pivot_root . .
umount -l .
cd /

# mount(8) has file systems loaded, but nobody loads loop before losetup(8) asks for a device of it.
modprobe loop || echo "no loop devices: the kernel has no such module" >&2

status=0
sh /run/lab/command || status=$?
echo "$status" >/run/lab/status
