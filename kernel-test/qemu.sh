#!/bin/sh
# Boots one image in QEMU, shows its serial output, and ends with 0 only if the image said "pass".
#
#   qemu.sh ARCH=x86|arm IMAGE=file [name=value …]
#
#   APPEND="words"     the kernel's command line (kernel-test/kernel.h, main.c)
#   PAGING=pae         short for paging=pae on the command line
#   MODULES="a b"      files that the kernel finds by their names: at most 8
#   MEM=16M CPUS=1 CPU=model TIMEOUT=120 (seconds)
#   ICOUNT=0           count instructions: the cycle counter is exact and every run the same
#   INPUT=1            what comes on standard input goes to the serial line; from a terminal without a time limit
#   EXTRA="…"          more options for QEMU
set -u

ARCH= IMAGE= APPEND= PAGING= MODULES= MEM=16M CPUS=1 CPU= TIMEOUT=120 ICOUNT= INPUT= EXTRA=
for word in "$@"; do
    value=${word#*=}
    case $word in
    ARCH=*) ARCH=$value ;;
    IMAGE=*) IMAGE=$value ;;
    APPEND=*) APPEND=$value ;;
    PAGING=*) PAGING=$value ;;
    MODULES=*) MODULES=$value ;;
    MEM=*) MEM=${value:-$MEM} ;;
    CPUS=*) CPUS=${value:-$CPUS} ;;
    CPU=*) CPU=$value ;;
    TIMEOUT=*) TIMEOUT=${value:-$TIMEOUT} ;;
    ICOUNT=*) ICOUNT=$value ;;
    INPUT=*) INPUT=$value ;;
    EXTRA=*) EXTRA=$value ;;
    *) echo "qemu.sh: what is $word?" >&2; exit 2 ;;
    esac
done
[ -r "$IMAGE" ] || { echo "qemu.sh: no image: IMAGE=$IMAGE" >&2; exit 2; }
for file in $MODULES; do
    [ -r "$file" ] || { echo "qemu.sh: no module: $file" >&2; exit 2; }
done
[ -z "$PAGING" ] || APPEND="$APPEND paging=$PAGING"

set -- -m "$MEM" -smp "$CPUS" -display none -no-reboot -serial stdio -monitor none -net none \
    -kernel "$IMAGE"
case $ARCH in
x86)
    qemu=qemu-system-i386
    set -- "$@" -M pc -cpu "${CPU:-max}" -device isa-debug-exit,iobase=0xf4,iosize=4
    list=$(echo $MODULES | tr ' ' ,)
    [ -z "$list" ] || set -- "$@" -initrd "$list"
    ;;
arm)
    qemu=qemu-system-arm
    set -- "$@" -M virt -cpu "${CPU:-cortex-a15}" -semihosting-config enable=on,target=native
    number=0
    for file in $MODULES; do
        set -- "$@" -fw_cfg "name=opt/spanheap/$number/$(basename "$file"),file=$file"
        number=$((number + 1))
    done
    ;;
*) echo "qemu.sh: ARCH is x86 or arm" >&2; exit 2 ;;
esac
[ -z "$APPEND" ] || set -- "$@" -append "$APPEND"
[ -z "$ICOUNT" ] ||
    set -- "$@" -icount "shift=$ICOUNT,sleep=off" -rtc clock=vm,base=2000-01-01T00:00:00

if [ -n "$INPUT" ] && [ -t 0 ]; then
    # In the foreground, as long as somebody types.
    "$qemu" "$@" $EXTRA
    status=$?
else
    # In the background, so that a signal to this script reaches it; timeout passes it on to QEMU.
    if [ -n "$INPUT" ]; then exec 3<&0; else exec 3</dev/null; fi
    timeout -k 5 "$TIMEOUT" "$qemu" "$@" $EXTRA <&3 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; wait "$pid"; exit 1' INT TERM HUP
    wait "$pid"
    status=$?
fi

case $status in
33) exit 0 ;;
35) echo "qemu.sh: the image says: failed" >&2 ;;
124 | 137) echo "qemu.sh: no end after $TIMEOUT s: the image hangs" >&2 ;;
0) echo "qemu.sh: the machine was reset or switched off: a triple fault?" >&2 ;;
*) echo "qemu.sh: $qemu ended with status $status" >&2 ;;
esac
exit 1
