#!/bin/sh
# Looks at the code and at the libraries from outside: layers, symbols, sizes, both compilers, all
# page sizes, kernels that use the library in each way.  Run by `make check`, from the root, when the
# libraries are built.  A line a check; ends `N passed, N failed`.
set -u
LC_ALL=C
export LC_ALL

TEXT_MAX=40960 # a budget: bytes of text + rodata of arch and mm for i386 at -Os, one CPU; 10 KiB are the tiers
DATA_MAX=20480 # bytes of .data + .bss of the same

work=build/check
mkdir -p "$work"
: >"$work/results"

ok() {
    echo "ok   $1" | tee -a "$work/results"
}

fail() { # what, why: the first lines of it
    echo "FAIL $1: $(echo "$2" | head -n 8 | tr '\n' ';' | sed 's/;$//')" | tee -a "$work/results"
}

# ok if there is nothing to say against it.
verdict() {
    if [ -z "$2" ]; then ok "$1"; else fail "$1" "$2"; fi
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# The Makefile with the configurations of check.mk; a job server of the caller's is not for us.
MAKEFLAGS=$(echo "${MAKEFLAGS:-}" | sed 's/ *-j[0-9]*//g; s/ *--jobserver[^ ]*//g')
export MAKEFLAGS
build() {
    ${MAKE:-make} --no-print-directory -f Makefile -f kernel-test/check/check.mk "$@"
}

variable() {
    build -s "show-$1" 2>/dev/null
}

# --- the source -----------------------------------------------------------------------------------

# file:line:text of C sources, without comments.
code() {
    [ $# -eq 0 ] || awk '
        FNR == 1 { comment = 0 }
        {
            text = ""; rest = $0
            while (rest != "") {
                at = index(rest, comment ? "*/" : "/*")
                if (!comment) text = text (at ? substr(rest, 1, at - 1) : rest)
                rest = at ? substr(rest, at + 2) : ""
                if (at) comment = !comment
            }
            if (text != "") print FILENAME ":" FNR ":" text
        }' "$@"
}

sources() {
    find "$@" -name '*.[chS]' 2>/dev/null | sort
}

FREESTANDING='<std(bool|def|int|arg|align|noreturn)\.h>|<limits\.h>|<float\.h>|<iso646\.h>'

# $1 = files, $2 = the includes that they may have; prints the others.
other_includes() {
    code $1 | grep -E '^[^:]*:[0-9]*: *# *include' | grep -vE "# *include +($2) *\$"
}

check_layers() {
    all='"arch/(arch|port)\.h"|"(cpu|pte)\.h"'
    verdict 'layers: arch/ includes arch only, freestanding headers only' "$(
        other_includes "$(ls arch/*.[ch])" "$all|$FREESTANDING|SH_CONFIG_HEADER"
        for port in arch/*/; do
            own=$(cd "$port" && ls -- *.h | sed 's/.*/"&"/' | tr '\n' '|')
            case $port in
            arch/host/) other_includes "$(sources "$port")" "$own\"arch/(arch|port)\.h\"|<[a-z/]+\.h>" ;;
            *) other_includes "$(sources "$port")" "$own\"arch/(arch|port)\.h\"|$FREESTANDING" ;;
            esac
        done)"
    verdict 'layers: mm/ includes mm and arch.h, freestanding headers only' "$(
        other_includes "$(sources mm | grep -v /gen_)" \
            "\"mm/[a-z_]+\.h\"|\"arch/arch\.h\"|\"cpu\.h\"|\"size_class_count\.h\"|$FREESTANDING")"
    verdict 'layers: gc/ includes gc, mm and arch.h, freestanding headers only' "$(
        other_includes "$(sources gc)" \
            "\"gc/[a-z_]+\.h\"|\"mm/[a-z_]+\.h\"|\"arch/arch\.h\"|\"cpu\.h\"|$FREESTANDING")"

    generic="$(sources mm gc) $(ls arch/*.[ch])"
    isa='__(i[3-6]86|x86_64|amd64|arm|ARM_[A-Z0-9_]*[A-Z0-9]|thumb2?|aarch64|riscv[a-z_]*)(__)?([^A-Za-z0-9_]|$)'
    verdict 'no instruction-set macro outside arch/ and kernel-test/boot' "$(
        code $generic $(sources kernel-test | grep -v '^kernel-test/boot/') | grep -E "$isa")"
    verdict 'no assembly in mm/ and gc/' "$(
        code $(sources mm gc) | grep -E '(^|[^a-z_])(__asm__|asm)([^a-z_]|$)')"
    verdict 'generic code names no machine' "$(
        code $generic | sed 's/^[^:]*:[0-9]*:/& /' |
            grep -E ': .*[^A-Za-z](x86|X86|i[3-6]86|ARM|[aA][rR][mM]v[78]|arm[_/]|"arm|PAE|pae|aarch64|riscv)')"
}

# --- the public headers ---------------------------------------------------------------------------

headers() {
    ls arch/arch.h mm/mm.h gc/gc.h 2>/dev/null
}

# $1 = what, the rest = compiler and flags.
check_headers() {
    what=$1
    shift
    for header in $(headers); do
        log=$(printf '#include "%s"\n' "$header" |
            "$@" -Wall -Wextra -Wpedantic -Wundef -Werror -I. -fsyntax-only - 2>&1)
        verdict "$header compiles on its own as $what" "$(echo "$log" | grep -E 'error|not found')"
    done
}

# Functions that the headers declare: sh_ names before a bracket, but for those that stand there whole.
declared() {
    code "$@" | grep -vE '#|static inline' | grep -oE '(^|[^A-Za-z_])sh_[a-z_]+\(' | grep -oE 'sh_[a-z_]+' | sort -u
}

# --- the libraries --------------------------------------------------------------------------------

MEMORY='memcpy|memset|memmove|memcmp'
SEVEN='sh_arch_(reserve|release|map|commit|decommit|fault|state)'

# Undefined symbols of a member, "U name" or "w name".
undefined() {
    nm -u "$1" | awk 'NF == 2 { print $1, $2 }'
}

# $1 = archive, $2 = machine.
check_symbols() {
    [ -r "$1" ] || { fail "$1: symbols" 'it was not built'; return; }
    archive=$PWD/$1
    rm -rf "$work/members" && mkdir "$work/members"
    (cd "$work/members" && ar x "$archive")
    members=$(ar t "$1" | tr '\n' ' ')
    [ "$members" = 'spanheap.o port.o ' ] || { fail "$1: two members" "has $members"; return; }

    # On host the compiler may call what it likes, and the C library is there.
    case $2 in
    host) foreign='[^s].*|s[^h].*|sh[^_].*' extra=arch/host/host.h ;;
    *) foreign=$MEMORY extra= ;;
    esac
    nm -g --defined-only "$work/members/spanheap.o" "$work/members/port.o" |
        awk 'NF == 3 { print $3 }' | sort >"$work/exported"
    declared $(headers) $extra >"$work/declared"
    verdict "$1: its two members, what they export and import" "$(
        grep -v '^sh_' "$work/exported" | sed 's/^/exports /'
        uniq -d "$work/exported" | sed 's/^/defined by both: /'
        grep '^sh_' "$work/exported" | grep -vx sh_arch_port | comm -23 - "$work/declared" |
            sed 's/^/no public header declares /'
        grep -v '^sh_kernel_' "$work/declared" | comm -23 - "$work/exported" | sed 's/^/lacks /'
        undefined "$work/members/spanheap.o" |
            grep -vxE "U ($SEVEN|sh_kernel_(panic|cpu)|$foreign)|[wv] sh_arch_port" |
            sed 's/^/spanheap.o imports /'
        undefined "$work/members/port.o" |
            grep -vxE "U (sh_kernel_(frame_alloc|frame_free|phys_to_virt|root_table|panic|cpu)|$foreign)" |
            sed 's/^/port.o imports /')"
}

# What the compiler said when a target that begins so was made, from the log of all.
complaint() {
    awk -v c="$1" '
        /error:|undefined reference|multiple definition/ && !/collect2/ { said = $0 }
        index($0, "***") && index($0, c) { print said; print; exit }' "$work/build.log"
}

# $1 = configuration, $2 = in words.
check_built() {
    if [ -r "build/$1/libspanheap.a" ]; then
        ok "$2"
    else
        fail "$2" "$(complaint "build/$1/"; echo "$work/build.log")"
    fi
}

check_size() {
    set -- $(build -s check-size 2>/dev/null | tail -n 1)
    text=${1:-} data=$((${2:-0} + ${3:-0}))
    if [ -z "$text" ]; then
        fail 'sizes for i386, -Os, one CPU' 'not built'
        return
    fi
    if [ "$text" -le "$TEXT_MAX" ]; then over=; else over=$((text - TEXT_MAX))' too many'; fi
    verdict "i386, -Os, one CPU: $text bytes of text and rodata, at most $TEXT_MAX" "$over"
    if [ "$data" -le "$DATA_MAX" ]; then over=; else over=$((data - DATA_MAX))' too many'; fi
    verdict "i386, one CPU: $data bytes of .data and .bss, at most $DATA_MAX" "$over"
}

# --- kernels that use the library -----------------------------------------------------------------

# $1 = image under build/check/, $2 = machine, $3 = in words.
check_kernel() {
    if [ ! -r "$work/$1.elf" ]; then
        fail "$3 links" "$(complaint "$work/${1%%-*}"; echo "$work/build.log")"
        return
    fi
    ok "$3 links"
    if ! have "qemu-system-$(echo "$2" | sed 's/x86/i386/')"; then
        echo "skip $3 boots: apt-get install qemu-system-$2"
        return
    fi
    sh kernel-test/qemu.sh ARCH="$2" IMAGE="$work/$1.elf" MEM="$4" TIMEOUT=30 >"$work/$1.log" 2>&1
    status=$?
    if [ "$status" -eq 0 ] && grep -q '^hello from the heap: ' "$work/$1.log"; then
        ok "$3 boots: $(tr -d '\r' <"$work/$1.log" | grep '^hello')"
    else
        fail "$3 boots" "status $status; $(cat "$work/$1.log")"
    fi
}

# A kernel with its own sh_arch_*: each once, nothing of the port.
check_own() {
    [ -r "$work/own_vm.elf" ] || return
    nm "$work/own_vm.elf" >"$work/own_vm.nm"
    verdict 'own sh_arch_*: port.o is not linked' "$(
        grep -E ' sh_(arch_port|add_window|window_error|kernel_frame_alloc)$' "$work/own_vm.nm")"
}

# What a user gets: the example against the installed headers and library only.
check_install() {
    rm -rf "$work/usr"
    log=$(build -s install PREFIX="$PWD/$work/usr" 2>&1) || { fail 'make install' "$log"; return; }
    mkdir -p "$work/user"
    cp kernel-test/example/x86.c kernel-test/example/x86.ld "$work/user"
    log=$(cd "$work/user" && $(variable CROSS_x86)gcc -m32 -O2 -ffreestanding -fno-pie -no-pie -nostdlib \
        -static -I../usr/include/spanheap -T x86.ld -o ../installed.elf x86.c \
        ../usr/lib/spanheap/x86/libspanheap.a 2>&1)
    verdict 'make install: the example builds with what was installed' "$log"
}

# --- all of it ------------------------------------------------------------------------------------

machines=$(variable LIBRARIES)
is_machine() {
    case " $machines " in *" $1 "*) return 0 ;; esac
    return 1
}

configs= clangs= kernels=
is_machine x86 && kernels='x86 own_vm hooks-after hooks-before'
is_machine arm && kernels="$kernels arm"
for c in $(variable CHECK_CONFIGS); do
    case $c in *-x86) is_machine x86 ;; *) is_machine arm ;; esac && configs="$configs $c"
done
if have clang; then
    for c in $(variable CHECK_CLANG); do
        is_machine "${c#check-clang-}" && clangs="$clangs $c"
    done
else
    echo 'skip clang: apt-get install clang'
fi

# Everything is compiled in the background, two at a time, while the source is looked at.
targets=
for c in $configs $clangs; do
    rm -f "build/$c/libspanheap.a"
    targets="$targets build/$c/libspanheap.a"
done
for k in $kernels; do
    rm -f "$work/$k.elf"
    targets="$targets $work/$k.elf"
done
build -k -s -j2 -Otarget $targets >"$work/build.log" 2>&1 &
compiling=$!
trap 'kill "$compiling" 2>/dev/null; exit 1' INT TERM HUP

check_layers
check_headers 'C11' "$(variable HOSTCC)" -xc -std=c11
if have g++; then check_headers 'C++' g++ -xc++ -std=c++11; else echo 'skip C++: apt-get install g++'; fi
for m in $machines; do
    check_symbols "build/$m/libspanheap.a" "$m"
done
wait "$compiling"

for c in $configs; do
    heap_page=8 arch_page=4 cpus=8
    case $c in
    *-p12-*) heap_page=4 cpus=1 ;;
    *-p14-*) heap_page=16 ;;
    *-number-*) cpus='8 that SH_CPU_NUMBER tells' ;;
    *) cpus=1 ;;
    esac
    case $c in *-64k) arch_page=64 ;; esac
    case $c in *-x86) machine=x86 ;; *) machine=arm ;; esac
    check_built "$c" \
        "$machine builds with $heap_page KiB heap pages, $arch_page KiB arch pages, SH_MAX_CPUS=$cpus"
    [ ! -r "build/$c/libspanheap.a" ] || check_symbols "build/$c/libspanheap.a" "$machine"
done
for c in $clangs; do
    check_built "$c" "clang is content: ${c#check-clang-}"
    [ ! -r "build/$c/libspanheap.a" ] || check_symbols "build/$c/libspanheap.a" "${c#check-clang-}"
done
if is_machine x86; then
    check_size
    check_kernel x86 x86 'the x86 example' 16M
    check_kernel own_vm x86 'a kernel with its own sh_arch_*' 16M
    check_own
    check_kernel hooks-after x86 'a kernel with its hooks in an archive behind the library' 16M
    check_kernel hooks-before x86 'a kernel with its hooks in an archive before the library' 16M
    check_install
fi
is_machine arm && check_kernel arm arm 'the ARM example' 64M

awk '$1 == "ok" { passed++ } $1 == "FAIL" { failed++ }
    END { printf "%d passed, %d failed\n", passed, failed; exit failed != 0 || passed == 0 }' "$work/results"
