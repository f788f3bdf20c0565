# Spanheap.  `make help` says what there is.
#
# One library, several configurations: a configuration is a name, a port, a compiler and flags, and its
# files lie in build/<name>/.  The rules below are written once and instantiated for each.

ARCH ?= x86
MEM ?=
PAGING ?= 2level
PAGE ?= 4k
CPUS ?= 1
TRACE ?=
DEMO ?=
PREFIX ?= /usr/local
CROSS_x86 ?= i686-linux-gnu-
CROSS_arm ?= arm-none-eabi-
HOSTCC ?= cc
PAGE_SHIFT ?= 13
OPT ?= -O2
DEBUG ?= -g1
TIMEOUT ?= 300

ifeq ($(origin CC),default)
CC := gcc
endif

# --- compilers ------------------------------------------------------------------------------------

# CC=clang serves every machine by itself; CC=gcc is prefixed by the machine's CROSS_.
ifneq ($(findstring clang,$(CC)),)
CC_x86 := $(CC) --target=i686-linux-gnu
CC_arm := $(CC) --target=armv7a-none-linux-gnueabi
else
CC_x86 := $(CROSS_x86)gcc
CC_arm := $(CROSS_arm)gcc
endif
CC_host := $(CC)
CC_host32 := $(CROSS_x86)gcc
# Assembly is for gcc's assembler; host is the machine that this runs on, also as a 32-bit one.
AS_x86 := $(CROSS_x86)gcc -m32
AS_arm := $(CROSS_arm)gcc
AS_host := gcc
LD_x86 := $(CROSS_x86)ld
LD_arm := $(CROSS_arm)ld
LD_host := ld
LD_host32 := $(CROSS_x86)ld
OBJCOPY_x86 := $(CROSS_x86)objcopy
OBJCOPY_arm := $(CROSS_arm)objcopy
OBJCOPY_host := objcopy
OBJCOPY_host32 := $(CROSS_x86)objcopy

WARN := -Wall -Wextra -Werror -Wshadow -Wundef -Wvla -Wconversion -Wstrict-prototypes \
        -Wmissing-prototypes -Wcast-qual -Wcast-align -Wwrite-strings -Wswitch-enum -fno-common \
        -Wframe-larger-than=512
# Arguments of 4 bytes each: nothing is padded to 16.
STACK_x86 := $(if $(findstring clang,$(CC)),-mstack-alignment=4,-mpreferred-stack-boundary=2)
# DEBUG: enough for a backtrace, at two thirds of the time; the libraries have all of it.
FREE := -std=c11 -ffreestanding $(DEBUG) -fno-strict-aliasing -fno-stack-protector -fno-asynchronous-unwind-tables -MMD -MP
FLAGS_x86 := $(FREE) -m32 -march=i686 -mtune=generic $(STACK_x86) -fno-pie -mno-sse -mno-mmx -mno-80387
FLAGS_arm := $(FREE) -march=armv7-a -marm -mfloat-abi=soft -mno-unaligned-access -fno-pie
FLAGS_host := $(FREE)
FLAGS_host32 := $(FREE) -m32 -fno-pie

HAVE = $(shell command -v $(firstword $(1)) 2>/dev/null)

# --- configurations -------------------------------------------------------------------------------

# name : machine : port : extra flags.  -up: built for one CPU, without locks.
CONFIGS := x86 x86-up arm arm-up arm-64k arm-64k-up x86-kasan arm-kasan x86-mask arm-mask arm-64k-mask \
    host host-up host-asan host-tsan host-cpus host-cov host-mcdc host32 host32-up host32-p12 host32-p14 host32-small
# Threads for CPUs, under the thread sanitizer.
CPU_CONFIGS := host-cpus1 host-cpus2 host-cpus3 host-cpus64
CONFIGS += $(CPU_CONFIGS) x86-inline arm-inline
$(foreach c,$(CONFIGS),$(eval SHIFT_$(c) := $(PAGE_SHIFT)))
SHIFT_host32-p12 := 12
SHIFT_host32-p14 := 14
MACHINE_x86 := x86
MACHINE_x86-up := x86
MACHINE_arm := arm
MACHINE_arm-up := arm
MACHINE_arm-64k := arm
MACHINE_arm-64k-up := arm
MACHINE_x86-kasan := x86
MACHINE_arm-kasan := arm
MACHINE_x86-mask := x86
MACHINE_arm-mask := arm
MACHINE_arm-64k-mask := arm
MACHINE_host := host
MACHINE_host-up := host
MACHINE_host-asan := host
MACHINE_host-tsan := host
MACHINE_host-cpus := host
MACHINE_host-cov := host
MACHINE_host-mcdc := host
$(foreach c,$(CPU_CONFIGS),$(eval MACHINE_$(c) := host))
MACHINE_host32 := host32
MACHINE_host32-up := host32
MACHINE_host32-p12 := host32
MACHINE_host32-p14 := host32
MACHINE_host32-small := host32
MACHINE_x86-inline := x86
MACHINE_arm-inline := arm
PORT_x86 := x86
PORT_arm := arm
PORT_host := host
PORT_host32 := host
EXTRA_x86-up := -DSH_MAX_CPUS=1
EXTRA_arm-up := -DSH_MAX_CPUS=1
EXTRA_arm-64k := -DSH_ARCH_PAGE_SHIFT=16
EXTRA_arm-64k-up := -DSH_ARCH_PAGE_SHIFT=16 -DSH_MAX_CPUS=1
# A CPU's record of the heap is found inline.
EXTRA_x86-inline := '-DSH_CONFIG_HEADER="kernel-test/boot/x86/config.h"'
EXTRA_arm-inline := '-DSH_CONFIG_HEADER="kernel-test/boot/arm/config.h"'
EXTRA_host-up := -DSH_MAX_CPUS=1
# A stop watch around the interrupt mask: kernel-test/probe.
EXTRA_x86-mask := -iquote kernel-test/probe '-DPROBE_PORT="arch/x86/cpu.h"'
EXTRA_arm-mask := -iquote kernel-test/probe '-DPROBE_PORT="arch/arm/cpu.h"'
EXTRA_arm-64k-mask := $(EXTRA_arm-mask) -DSH_ARCH_PAGE_SHIFT=16
# What make bench compares with.
EXTRA_host-asan := -DMM_DEBUG=1 -fsanitize=address,undefined -fno-sanitize-recover=all
EXTRA_host-tsan := -DMM_DEBUG=1 -DHOST_CPUS -fsanitize=thread -Wno-frame-larger-than $(if $(findstring clang,$(CC)),,-Wno-tsan)
$(foreach c,$(CPU_CONFIGS),$(eval EXTRA_$(c) := $(EXTRA_host-tsan) -DSH_MAX_CPUS=$(c:host-cpus%=%)))
EXTRA_host-cpus := -DHOST_CPUS
EXTRA_host-cov := -O0 --coverage -fprofile-update=atomic -Wno-frame-larger-than
# Clang's, of 19 or newer: kernel-test/deep.sh.
EXTRA_host-mcdc := -O1 -fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc -w
EXTRA_host32 := -DMM_DEBUG=1 -DHOST_INTERRUPTS -fsanitize=undefined -fsanitize-undefined-trap-on-error
# The checks look at object sizes that the sanitizers enlarge.
EXTRA_host-asan += -Wno-frame-larger-than
EXTRA_host32 += -Wno-frame-larger-than
# Address checks of the kernel's own code, see kernel-test/kasan.h; the library is that of the machine.
KASAN_FLAGS := -fsanitize=kernel-address -fasan-shadow-offset=0 \
    --param asan-instrumentation-with-call-threshold=0 --param asan-globals=0 --param asan-stack=0 \
    -Dmemset=kasan_memset -Dmemcpy=kasan_memcpy -Dmemmove=kasan_memmove -Dmemcmp=kasan_memcmp
# Its windows lie in K_AREA_BASE and K_AREA_SIZE of kernel.h.
KASAN_AREA := -DKASAN -DKASAN_FIRST=0xD0000000u -DKASAN_LAST=0xEFFFFFFFu
EXTRA_x86-kasan := $(KASAN_AREA) $(KASAN_FLAGS)
EXTRA_arm-kasan := $(KASAN_AREA) $(KASAN_FLAGS)
EXTRA_host32-up := $(EXTRA_host32) -DSH_MAX_CPUS=1
EXTRA_host32-p12 := $(EXTRA_host32) -DSH_MAX_CPUS=1
EXTRA_host32-p14 := $(EXTRA_host32) '-DSH_CONFIG_HEADER="kernel-test/rig_number.h"'
# The heap of addresses below 32 MiB, with arenas and chunks of 1 MiB: a look at everything is cheap,
# and growth meets their ends.
EXTRA_host32-small := -DMM_ARENA_SHIFT=20 -DMM_CHUNK_SHIFT=20 -DMM_ADDRESS_BITS=25 -mpopcnt

ifdef SH_MAX_CPUS
USER_FLAGS += -DSH_MAX_CPUS=$(SH_MAX_CPUS)
endif
ifdef SH_CONFIG_HEADER
USER_FLAGS += '-DSH_CONFIG_HEADER="$(SH_CONFIG_HEADER)"'
endif
USER_FLAGS += $(DEFINES)

GC ?= 1

# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)')
MM_SOURCES := $(filter-out mm/gen_%,$(wildcard mm/*.c))
GC_SOURCES := $(if $(filter 1,$(GC)),$(wildcard gc/*.c))
PORT_SOURCES_x86 := arch/pagetable.c arch/tables.c arch/windows.c
PORT_SOURCES_arm := arch/pagetable.c arch/tables.c arch/windows.c
PORT_SOURCES_host := arch/host/host.c arch/windows.c

all: libraries

.PHONY: all libraries run test test-images check bench bench-peers mutants explore deep install clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

# Rebuilds what depends on the user's flags when they change.
BUILT_WITH := $(CC) $(OPT) $(DEBUG) $(USER_FLAGS) $(GC) $(PAGE_SHIFT)
build/flags: FORCE
	@mkdir -p build; echo '$(BUILT_WITH)' | cmp -s - $@ || echo '$(BUILT_WITH)' > $@

build/gen_size_class: mm/gen_size_class.c
	@mkdir -p build
	$(Q)$(HOSTCC) -O1 -Wall -Wextra -o $@ $<

# One folder a heap page size.
build/gen-%/size_class_count.h: build/gen_size_class
	@mkdir -p $(@D)
	$(Q)./build/gen_size_class $* 32768 count > $@

build/gen-%/size_class_table.c: build/gen_size_class
	@mkdir -p $(@D)
	$(Q)./build/gen_size_class $* 32768 table > $@

# $(1) = configuration.  Objects of the three layers, the two members, the archive.
define configuration
CFLAGS_$(1) = $(OPT) $(WARN) $$(FLAGS_$(MACHINE_$(1))) $$(EXTRA_$(1)) $$(USER_FLAGS) \
    -DMM_PAGE_SHIFT=$(SHIFT_$(1)) -I. -Iarch/$(PORT_$(MACHINE_$(1))) -Ibuild/gen-$(SHIFT_$(1))
MM_OBJECTS_$(1) := $(MM_SOURCES:%.c=build/$(1)/%.o) $(GC_SOURCES:%.c=build/$(1)/%.o) \
    $(if $(GC_SOURCES),build/$(1)/arch/$(PORT_$(MACHINE_$(1)))/context.o) build/$(1)/size_class_table.o
PORT_OBJECTS_$(1) := $(PORT_SOURCES_$(PORT_$(MACHINE_$(1))):%.c=build/$(1)/%.o)

build/$(1)/%.o: %.c build/flags build/gen-$(SHIFT_$(1))/size_class_count.h
	@mkdir -p $$(@D)
	$$(call say,CC   $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) $$(CFLAGS_$(1)) -c -o $$@ $$<

build/$(1)/%.o: %.S build/flags
	@mkdir -p $$(@D)
	$$(call say,AS   $$@)
	$$(Q)$(AS_$(PORT_$(MACHINE_$(1)))) $(if $(filter host32,$(MACHINE_$(1))),-m32) -g \
	    $(if $(filter host,$(PORT_$(MACHINE_$(1)))),,$$(EXTRA_$(1))) -I. -c -o $$@ $$<

build/$(1)/size_class_table.o: build/gen-$(SHIFT_$(1))/size_class_table.c build/flags
	@mkdir -p $$(@D)
	$$(call say,CC   $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) $$(CFLAGS_$(1)) -c -o $$@ $$<

build/$(1)/spanheap.o: $$(MM_OBJECTS_$(1))
	$$(call say,LD   $$@)
	$$(Q)$$(LD_$(MACHINE_$(1))) $(if $(filter host32 x86,$(MACHINE_$(1))),-m elf_i386) -r -o $$@.all $$^
	$$(Q)$$(OBJCOPY_$(MACHINE_$(1))) -w --keep-global-symbol='sh_*' $$@.all $$@

build/$(1)/port.o: $$(PORT_OBJECTS_$(1))
	$$(call say,LD   $$@)
	$$(Q)$$(LD_$(MACHINE_$(1))) $(if $(filter host32 x86,$(MACHINE_$(1))),-m elf_i386) -r -o $$@.all $$^
	$$(Q)$$(OBJCOPY_$(MACHINE_$(1))) -w --keep-global-symbol='sh_*' $$@.all $$@

build/$(1)/libspanheap.a: build/$(1)/spanheap.o build/$(1)/port.o
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^

-include $$(MM_OBJECTS_$(1):.o=.d) $$(PORT_OBJECTS_$(1):.o=.d)
endef
$(foreach c,$(CONFIGS),$(eval $(call configuration,$(c))))

# --- libraries ------------------------------------------------------------------------------------

PACKAGE_x86 := gcc-i686-linux-gnu
PACKAGE_arm := gcc-arm-none-eabi
PACKAGE_host := gcc
LIBRARIES := $(foreach m,x86 arm host,$(if $(call HAVE,$(CC_$(m))),$(m),\
    $(warning no $(firstword $(CC_$(m))): apt-get install $(PACKAGE_$(m)) brings the compiler for $(m))))
LIBRARIES += $(if $(filter arm,$(LIBRARIES)),arm-64k)

$(foreach l,$(LIBRARIES),$(eval $(MM_OBJECTS_$(l)) $(PORT_OBJECTS_$(l)): CFLAGS_$(l) += -g))

libraries: $(LIBRARIES:%=build/%/libspanheap.a)
	@for l in $^; do size $$l | awk -v l=$$l 'NR > 1 { t += $$1; d += $$2 + $$3 } \
	    END { printf "%s: %d bytes of text, %d of data\n", l, t, d }'; done

# --- the test kernel ------------------------------------------------------------------------------

KT := kernel-test
# Suites of the collector: those that include it.
KT_GC_TESTS := $(patsubst $(KT)/%.c,%,$(shell grep -lE '"gc/|"kernel-test/(lisp|test_gc_util)\.h"' $(KT)/test_*.c))
USER_FLAGS += $(if $(filter 1,$(GC)),,-DWITHOUT_GC)
KT_COMMON := printf test trace pattern test_util test_suites plant plant_spans plant_pages plant_lists $(patsubst $(KT)/%.c,%,\
    $(filter-out $(KT)/test_util.c $(KT)/test_suites.c $(KT)/test_kasan.c $(KT_GC_TESTS:%=$(KT)/%.c),\
    $(wildcard $(KT)/test_*.c)))
# The collector's suites and its client, or what stands in for them.
KT_GC := $(if $(filter 1,$(GC)),$(KT_GC_TESTS) lisp lisp_object lisp_text lisp_compile lisp_eval lisp_builtin \
    lisp_programs,no_collector)
KT_HOST_ONLY := test_script test_sweep test_lies test_linear test_remote test_kept
KT_BOOT_ONLY := test_kernel test_cpus test_shootdown test_smp test_smp_gc test_timer test_timer_gc
KT_KASAN := kasan test_kasan
KT_HOST := $(filter-out $(KT_BOOT_ONLY),$(KT_COMMON) $(KT_GC)) rig_host rig_area rig_hooks \
    sweep_situations sweep_operations host_main
KT_BOOT := $(filter-out $(KT_HOST_ONLY),$(KT_COMMON)) $(KT_GC) $(if $(filter 1,$(GC)),lisp_main) replay replay_cpus demo storm soak main string rig_kernel walk \
    $(patsubst $(KT)/%.c,%,$(wildcard $(KT)/k_*.c) $(if $(filter 1,$(GC)),$(KT)/bench_gc.c) \
    $(filter-out $(KT)/bench_gc.c,$(wildcard $(KT)/bench*.c)))

# Where only the suites of many CPUs run, those are all there is.
KT_BOOT_CPUS := $(filter-out test_% plant%,$(KT_BOOT)) $(filter test_util test_cpus test_shootdown test_smp%,$(KT_BOOT)) \
    cpus_suites

# Suites are compiled fifteen times, and most of each runs once: compiling them well costs more than it saves.
KT_BRIEF := $(filter-out test_util test_gc_util,$(filter test_% plant% sweep_%,$(KT_HOST) $(KT_BOOT) $(KT_KASAN)))
define brief
$(KT_BRIEF:%=build/$(1)/$(KT)/%.o): CFLAGS_$(1) += -O1
endef

LISP_PROGRAMS := $(sort $(wildcard $(KT)/lisp/*.lisp))
build/lisp_programs.c: $(KT)/lisp_programs.sh $(LISP_PROGRAMS)
	@mkdir -p build
	$(Q)sh $(KT)/lisp_programs.sh $(LISP_PROGRAMS) > $@

# $(1) = configuration.
define lispprograms
build/$(1)/$(KT)/lisp_programs.o: build/lisp_programs.c build/flags
	@mkdir -p $$(@D)
	$$(call say,CC   $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) $$(CFLAGS_$(1)) -c -o $$@ $$<
endef
$(foreach c,$(CONFIGS),$(eval $(call lispprograms,$(c))))

# $(1) = configuration: build/$(1)/kernel.elf
define kernel
BOOT_$(1) := $(patsubst %,build/$(1)/%.o,$(basename $(wildcard $(KT)/boot/$(MACHINE_$(1))/*.[cS])))
KERNEL_$(1) := $(patsubst %,build/$(1)/$(KT)/%.o,$(if $(findstring inline,$(1)),$(KT_BOOT_CPUS),$(KT_BOOT))) build/$(1)/$(KT)/walk_$(MACHINE_$(1)).o $$(BOOT_$(1)) \
    $(if $(findstring kasan,$(1)),$(KT_KASAN:%=build/$(1)/$(KT)/%.o)) \
    $(if $(findstring mask,$(1)),build/$(1)/$(KT)/probe/masked.o)

build/$(1)/kernel.elf: $$(KERNEL_$(1)) $$(MM_OBJECTS_$(1:-kasan=)) $$(PORT_OBJECTS_$(1:-kasan=)) linker/$(MACHINE_$(1)).ld
	$$(call say,LINK $$@)
	$$(Q)$(CROSS_$(MACHINE_$(1)))gcc -nostdlib -static $(if $(filter x86,$(MACHINE_$(1))),-m32 -no-pie) \
	    -Wl,-T,linker/$(MACHINE_$(1)).ld -Wl,--build-id=none -Wl,-z,max-page-size=0x1000 -Wl,-z,noexecstack -o $$@ \
	    $$(filter %.o,$$^)

$$(KERNEL_$(1)): CFLAGS_$(1) += -I$(KT) -I$(KT)/boot/$(MACHINE_$(1))
-include $$(KERNEL_$(1):.o=.d)
endef
$(foreach c,x86 x86-up arm arm-up arm-64k arm-64k-up x86-kasan arm-kasan x86-mask arm-mask arm-64k-mask \
    x86-inline arm-inline,$(eval $(call kernel,$(c))))

# Without checks: the checks themselves, what serves the library too, what runs where there is no stack
# yet; and what goes through page tables and frames word by word and never sees an object.
KASAN_BARE := kasan string walk walk_x86 walk_arm k_frames
$(foreach c,x86-kasan arm-kasan,$(eval \
    $(KASAN_BARE:%=build/$(c)/$(KT)/%.o) $(BOOT_$(c)): EXTRA_$(c) := $(KASAN_AREA)))

# $(1) = host configuration: build/$(1)/host-test over the scripted port.
define hosttest
build/$(1)/host-test: $(KT_HOST:%=build/$(1)/$(KT)/%.o) $$(MM_OBJECTS_$(1))
	$$(call say,LINK $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) $$(EXTRA_$(1)) $(if $(filter host32,$(MACHINE_$(1))),-static) -o $$@ $$(filter %.o,$$^)

$(KT_HOST:%=build/$(1)/$(KT)/%.o): CFLAGS_$(1) := $$(filter-out -ffreestanding,$$(CFLAGS_$(1))) -I$(KT)
-include $(KT_HOST:%=build/$(1)/$(KT)/%.d)
endef
$(foreach c,host host-asan host-cov host-mcdc host32 host32-up host32-p12 host32-p14,$(eval $(call hosttest,$(c))))

$(foreach c,$(CONFIGS),$(eval $(call brief,$(c))))

# $(1) = configuration: build/$(1)/cpus-test, threads as CPUs over the host's port, under the thread sanitizer.
KT_CPUS := $(KT)/pattern $(KT)/storm $(patsubst %.c,%,$(if $(filter 1,$(GC)),$(wildcard $(KT)/cpus/*.c),\
    $(KT)/cpus/main.c $(KT)/cpus/cpus.c $(KT)/cpus/storms.c))
define cpustest
build/$(1)/cpus-test: $(KT_CPUS:%=build/$(1)/%.o) $$(MM_OBJECTS_$(1)) $$(PORT_OBJECTS_$(1)) \
    $(if $(GC_SOURCES),,build/$(1)/arch/host/context.o)
	$$(call say,LINK $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) $$(EXTRA_$(1)) -pthread -o $$@ $$(filter %.o,$$^)

$(KT_CPUS:%=build/$(1)/%.o): CFLAGS_$(1) := $$(filter-out -ffreestanding,$$(CFLAGS_$(1))) -I$(KT) -pthread
-include $(KT_CPUS:%=build/$(1)/%.d)
endef
$(foreach c,host-tsan $(CPU_CONFIGS),$(eval $(call cpustest,$(c))))

# What marking costs when several CPUs do it: for callgrind.
KT_CPUS_BENCH := $(KT)/cpus_bench $(KT)/cpus/cpus
build/host-cpus/cpus-bench: $(KT_CPUS_BENCH:%=build/host-cpus/%.o) $(MM_OBJECTS_host-cpus) $(PORT_OBJECTS_host-cpus)
	$(call say,LINK $@)
	$(Q)$(CC_host) -pthread -o $@ $(filter %.o,$^)

$(KT_CPUS_BENCH:%=build/host-cpus/%.o): CFLAGS_host-cpus := $(filter-out -ffreestanding,$(CFLAGS_host-cpus)) -I$(KT) -pthread
-include $(KT_CPUS_BENCH:%=build/host-cpus/%.d)

# The sweep of failures alone, in a small address space; the program itself is above it.
KT_SWEEP := printf test pattern test_util test_sweep rig_host rig_area rig_hooks sweep_situations \
    sweep_operations sweep_suites host_main
build/host32-small/sweep: $(KT_SWEEP:%=build/host32-small/$(KT)/%.o) $(MM_OBJECTS_host32-small)
	$(call say,LINK $@)
	$(Q)$(CC_host32) -m32 -static -Wl,-Ttext-segment=0x40000000 -o $@ $(filter %.o,$^)

$(KT_SWEEP:%=build/host32-small/$(KT)/%.o): CFLAGS_host32-small := \
    $(filter-out -ffreestanding,$(CFLAGS_host32-small)) -I$(KT)
-include $(KT_SWEEP:%=build/host32-small/$(KT)/%.d)

# --- run ------------------------------------------------------------------------------------------

# The image that serves ARCH and PAGE.
IMAGE := build/$(ARCH)$(if $(filter arm64k,$(ARCH)$(PAGE)),-64k)/kernel.elf
TRACES := $(if $(TRACE),$(TRACE),$(addprefix $(KT)/traces/,lua.trace sqlite.trace cc1.trace \
    $(if $(filter 1M 2M 4M 8M 12M 16M,$(MEM)),,mixed.trace)))
QEMU := sh $(KT)/qemu.sh
RUN_MEM := $(if $(MEM),$(MEM),64M)

# What cannot work is said before anything is built.
run: check-machine $(IMAGE)
ifneq ($(DEMO),)
	$(Q)$(QEMU) ARCH=$(ARCH) IMAGE=$(IMAGE) MEM=$(RUN_MEM) $(if $(filter x86,$(ARCH)),PAGING=$(PAGING)) \
	    TIMEOUT=$(TIMEOUT) APPEND="run=demo demo=$(DEMO)"
else
	$(if $(TRACE)$(filter %mixed.trace,$(TRACES)),,@echo 'mixed.trace needs 32 MiB: left out with MEM=$(MEM)')
	$(Q)$(QEMU) ARCH=$(ARCH) IMAGE=$(IMAGE) MEM=$(RUN_MEM) CPUS=$(CPUS) $(if $(filter x86,$(ARCH)),PAGING=$(PAGING)) \
	    $(if $(filter 1,$(CPUS)),ICOUNT=0) TIMEOUT=$(TIMEOUT) MODULES="$(TRACES)" APPEND="run=replay"
endif

# All CPUs on one heap, really at once; then, shorter, in turn, where every run is the same.
SOAK_CPUS := $(if $(filter file undefined,$(origin CPUS)),4,$(CPUS))
SOAK = $(QEMU) ARCH=$(ARCH) IMAGE=$(IMAGE) MEM=$(RUN_MEM) CPUS=$(SOAK_CPUS) $(if $(filter x86,$(ARCH)),PAGING=$(PAGING))
CALLS ?= 10000000
SEED ?= 1
.PHONY: soak
soak: check-machine $(IMAGE)
	$(Q)$(SOAK) TIMEOUT=1800 APPEND="run=soak calls=$(CALLS) seed=$(SEED)"
	$(Q)$(SOAK) TIMEOUT=1800 ICOUNT=10 APPEND="run=soak calls=1000000 round=25000 tick=20000000 seed=$(SEED)"

# FILE: programs to run, else a prompt.
.PHONY: lisp
lisp: check-machine $(IMAGE)
	$(Q)$(QEMU) ARCH=$(ARCH) IMAGE=$(IMAGE) MEM=$(RUN_MEM) $(if $(filter x86,$(ARCH)),PAGING=$(PAGING)) \
	    $(if $(FILE),ICOUNT=0 MODULES="$(FILE)",INPUT=1) TIMEOUT=$(TIMEOUT) \
	    APPEND="run=lisp $(if $(GCTRACE),gctrace=1)"

.PHONY: check-machine
check-machine:
	@case '$(ARCH)' in x86|arm) ;; *) echo 'ARCH is x86 or arm, not $(ARCH)' >&2; exit 2;; esac
	@case '$(PAGING)' in 2level|pae) ;; *) echo 'PAGING is 2level or pae, not $(PAGING)' >&2; exit 2;; esac
	@case '$(ARCH)-$(PAGE)' in x86-4k|arm-4k|arm-64k) ;; \
	    *) echo 'PAGE is 4k, or 64k with ARCH=arm; not $(PAGE) with ARCH=$(ARCH)' >&2; exit 2;; esac
	@command -v $(firstword $(CC_$(ARCH))) >/dev/null || \
	    { echo 'no $(firstword $(CC_$(ARCH))): apt-get install $(PACKAGE_$(ARCH))' >&2; exit 2; }
	@command -v qemu-system-$(if $(filter x86,$(ARCH)),i386,arm) >/dev/null || \
	    { echo 'no QEMU: apt-get install qemu-system-$(ARCH)' >&2; exit 2; }

# A generated trace, checked in; `make traces` writes it anew.
build/gen_trace: $(KT)/gen_trace.c
	@mkdir -p build
	$(Q)$(HOSTCC) -std=c11 -O1 -Wall -Wextra -I. -I$(KT) -o $@ $<

.PHONY: traces
traces: build/gen_trace
	./build/gen_trace $(KT)/traces/mixed.trace

# --- test -----------------------------------------------------------------------------------------

TEST_IMAGES := build/x86/kernel.elf build/x86-up/kernel.elf build/arm/kernel.elf build/arm-64k/kernel.elf \
    build/x86-inline/kernel.elf build/arm-inline/kernel.elf
# The instrumentation is gcc's.
KASAN_IMAGES := $(if $(findstring clang,$(CC)),,build/x86-kasan/kernel.elf build/arm-kasan/kernel.elf)
TEST_HOSTS := build/host32-small/sweep $(CPU_CONFIGS:%=build/%/cpus-test) \
    $(if $(filter 1,$(GC)),build/host-tsan/cpus-test) $(patsubst %,build/%/host-test,host-asan host32 host32-p12 host32-p14)
FILTER ?=
# What takes longer hangs: many times what a slow machine needs.
LIMIT := 1200
BOOT = sh $(KT)/qemu.sh TIMEOUT=$(LIMIT) APPEND='run=test $(if $(FILTER),test=$(FILTER))

# The suites of many CPUs; with instructions counted, 1024 nanoseconds each, every run is the same.
BOOT_CPUS = sh $(KT)/qemu.sh TIMEOUT=$(LIMIT) MEM=64M APPEND='run=test only=cpus $(if $(FILTER),test=$(FILTER))
HAVE_CPUS := $(filter cpus% shootdown% smp%,$(or $(FILTER),smp))
COUNTED = tick=20000000' ICOUNT=10

DEMOS = sh $(KT)/qemu.sh TIMEOUT=$(LIMIT) MEM=64M APPEND='run=demo demo=all'

COMMA := ,
# $(1) = configuration, $(2) = what the thread sanitizer is not to report.
THREADS = TSAN_OPTIONS=history_size=7:suppressions=$(KT)/cpus/$(2).supp timeout $(LIMIT) build/$(1)/cpus-test
LISP_RUN = sh $(KT)/lisp_run.sh

# The walker and its encodings on a simulated machine: a 32-bit program for each kind of page table.
TEST_SIMS := build/sim-x86 build/sim-arm build/sim-arm-64k
build/sim-x86: SIM_FLAGS := -DSIM_X86 -Iarch/x86
build/sim-arm: SIM_FLAGS := -DSIM_ARM -Iarch/arm
build/sim-arm-64k: SIM_FLAGS := -DSIM_ARM -Iarch/arm -DSH_ARCH_PAGE_SHIFT=16
$(TEST_SIMS): $(wildcard $(KT)/sim/*.[ch] arch/*.[ch] arch/x86/*.h arch/arm/*.h)
	$(call say,LINK $@)
	$(Q)mkdir -p build && $(CC_host32) -static -O1 $(DEBUG) -std=c11 -I$(KT)/sim $(SIM_FLAGS) -I. -o $@ \
	    $(KT)/sim/sim.c $(KT)/sim/test_pagetable.c $(PORT_SOURCES_x86)

# Under checks the first would take minutes, and touch few objects; the last four have accidents on purpose.
KASAN_SLOW := failure,windows,arena,pages,legal,verify,graph,step,soak,tiers,guarded,guard,gc_tiers
KASAN_LABEL := $(if $(FILTER),, (without $(KASAN_SLOW)))
KASAN_WITHOUT := $(if $(FILTER),, without=$(KASAN_SLOW))
# The arena model: mm/ for 32 bits, scaled down, with what it writes in sections of its own and some of its
# statics made visible, under a search for states.  build/model/<scale>/model.
MODELS := page frame top
MODEL_SHOWN := lowest highest few kept offered_base refusals lacked room_lacked current spares spare_count
TEST_MODELS := $(MODELS:%=build/model/%/model)

# $(1) = scale.
define model
MODEL_MM_$(1) := $(MM_SOURCES:%.c=build/model/$(1)/%.o) build/model/$(1)/size_class_table.o
MODEL_$(1) := $(patsubst %.c,build/model/$(1)/%.o,$(wildcard $(KT)/model/*.c))
MODEL_FLAGS_$(1) := -O3 $(WARN) $(FLAGS_host32) -DMODEL_$(1) -Wno-type-limits \
    '-DSH_CONFIG_HEADER="kernel-test/model/scale.h"' -I. -Iarch/host -Ibuild/gen-12

build/model/$(1)/size_class_table.o: build/gen-12/size_class_table.c
	@mkdir -p $$(@D)
	$$(Q)$$(CC_host32) $$(MODEL_FLAGS_$(1)) -c -o $$@ $$<

build/model/$(1)/%.o: %.c build/gen-12/size_class_count.h
	@mkdir -p $$(@D)
	$$(call say,CC   $$@)
	$$(Q)$$(CC_host32) $$(MODEL_FLAGS_$(1)) -c -o $$@ $$<

$$(MODEL_$(1)): MODEL_FLAGS_$(1) := $$(filter-out -ffreestanding -Wframe-larger-than=%,$$(MODEL_FLAGS_$(1))) -msse2

build/model/$(1)/model: $$(MODEL_MM_$(1)) $$(MODEL_$(1))
	$$(call say,LINK $$@)
	$$(Q)$$(LD_host32) -m elf_i386 -r -o $$(@D)/all.o $$(MODEL_MM_$(1))
	$$(Q)$$(OBJCOPY_host32) --rename-section .data=mm_data --rename-section .bss=mm_bss \
	    $(MODEL_SHOWN:%=--globalize-symbol=%) $$(@D)/all.o $$(@D)/mm.o
	$$(Q)$$(CC_host32) -static -no-pie -o $$@ $$(MODEL_$(1)) $$(@D)/mm.o

-include $$(MODEL_MM_$(1):.o=.d) $$(MODEL_$(1):.o=.d)
endef
$(foreach m,$(MODELS),$(eval $(call model,$(m))))

# The explorer: mm/ and gc/ for 64 bits, scaled down, each access of theirs a call (the compiler's thread
# sanitizer, a runtime of our own), what they write in one section.  build/explore/explore.
EXPLORE_FLAGS := -fno-pie $(filter-out -Wframe-larger-than=%,$(WARN)) $(FLAGS_host) -Wno-type-limits \
    $(if $(GC_SOURCES),,-DWITHOUT_GC) '-DSH_CONFIG_HEADER="kernel-test/explore/scale.h"' -I. -Ikernel-test/explore -Ibuild/gen-12
EXPLORE_TSAN := -O2 -Wno-tsan -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -fno-tree-vectorize \
    -fno-tree-loop-distribute-patterns -fno-ipa-reference
EXPLORE_SEEN := $(MM_SOURCES:%.c=build/explore/%.o) $(GC_SOURCES:%.c=build/explore/%.o) build/explore/size_class_table.o \
    $(patsubst %.c,build/explore/%.o,$(filter-out $(if $(GC_SOURCES),,%_gc.c),$(wildcard $(KT)/explore/scenarios*.c)))
EXPLORE_OWN := $(patsubst %.c,build/explore/%.o,$(filter-out $(KT)/explore/scenarios%,$(wildcard $(KT)/explore/*.c)))

EXPLORE_RENAMED := --rename-section .data=explore_state --rename-section .bss=explore_state,alloc,load,data,contents \
    --redefine-sym memset=explore_memset --redefine-sym memcpy=explore_memcpy

build/explore/size_class_table.o: build/gen-12/size_class_table.c
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) -O2 $(EXPLORE_FLAGS) -c -o $@ $<

build/explore/%.o: %.c build/gen-12/size_class_count.h
	@mkdir -p $(@D)
	$(call say,CC   $@)
	$(Q)$(HOSTCC) $(EXPLORE_FLAGS) $(EXPLORE_HOW) -c -o $@ $<

$(EXPLORE_SEEN): EXPLORE_HOW := $(EXPLORE_TSAN)
$(EXPLORE_OWN): EXPLORE_FLAGS := $(filter-out -ffreestanding -std=c11,$(EXPLORE_FLAGS)) -std=gnu11
$(EXPLORE_OWN): EXPLORE_HOW := -O2

build/explore/seen.o: $(EXPLORE_SEEN)
	$(call say,LD   $@)
	$(Q)$(LD_host) -r -o $@.all $^
	$(Q)$(OBJCOPY_host) $(EXPLORE_RENAMED) $@.all $@

build/explore/explore: build/explore/seen.o $(EXPLORE_OWN) $(KT)/explore/switch.S arch/host/context.S
	$(call say,LINK $@)
	$(Q)$(HOSTCC) -static -no-pie -g -o $@ $^

-include $(EXPLORE_SEEN:.o=.d) $(EXPLORE_OWN:.o=.d)

# The same for page tables, which are those of 32-bit machines: build/explore/<machine>/explore.
EXPLORERS := build/explore/explore build/explore/x86/explore build/explore/arm/explore
EXPLORE_MACHINE_x86 := -Iarch/x86 -DSIM_X86
EXPLORE_MACHINE_arm := -Iarch/arm -DSIM_ARM
EXPLORE_CONFIG := '-DSH_CONFIG_HEADER="kernel-test/explore/scale.h"'

# $(1) = machine.
define exploretables
EXPLORE_SEEN_$(1) := $(PORT_SOURCES_x86:%.c=build/explore/$(1)/%.o) build/explore/$(1)/$(KT)/explore/tables/scenarios.o
EXPLORE_OWN_$(1) := $(patsubst %.c,build/explore/$(1)/%.o,$(filter-out $(KT)/explore/port.c $(KT)/explore/scenarios%,\
    $(wildcard $(KT)/explore/*.c)) $(KT)/explore/tables/machine.c)

build/explore/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(call say,CC   $$@)
	$$(Q)$$(CC_host32) $(FLAGS_host32) $$(EXPLORE_HOW) -I$(KT)/sim $(EXPLORE_MACHINE_$(1)) $(EXPLORE_CONFIG) -I. -c -o $$@ $$<

$$(EXPLORE_SEEN_$(1)): EXPLORE_HOW := $(EXPLORE_TSAN) $(filter-out -Wframe-larger-than=%,$(WARN)) -mstringop-strategy=libcall
$$(EXPLORE_OWN_$(1)): EXPLORE_HOW := -O2 -std=gnu11 $(filter-out -Wframe-larger-than=%,$(WARN))

build/explore/$(1)/seen.o: $$(EXPLORE_SEEN_$(1))
	$$(call say,LD   $$@)
	$$(Q)$$(LD_host32) -m elf_i386 -r -o $$@.all $$^
	$$(Q)$$(OBJCOPY_host32) $(EXPLORE_RENAMED) $$@.all $$@

build/explore/$(1)/explore: build/explore/$(1)/seen.o $$(EXPLORE_OWN_$(1)) $(KT)/explore/switch.S
	$$(call say,LINK $$@)
	$$(Q)$$(CC_host32) -static -no-pie -g -o $$@ $$^

-include $$(EXPLORE_SEEN_$(1):.o=.d) $$(EXPLORE_OWN_$(1):.o=.d)
endef
$(foreach m,x86 arm,$(eval $(call exploretables,$(m))))

# label | command: longest first, so that two cores are busy to the end.
define TESTS
host 32-bit, small arenas, failures|timeout $(LIMIT) build/host32-small/sweep sweep 9
x86 2-level|$(BOOT)' ARCH=x86 IMAGE=build/x86/kernel.elf MEM=64M
x86 PAE|$(BOOT)' ARCH=x86 IMAGE=build/x86/kernel.elf PAGING=pae MEM=64M
ARM, 4 KiB pages|$(BOOT)' ARCH=arm IMAGE=build/arm/kernel.elf MEM=64M
ARM, 64 KiB pages|$(BOOT)' ARCH=arm IMAGE=build/arm-64k/kernel.elf MEM=64M
x86 2-level, scratch page, 2 directories, 8 MiB|$(BOOT) phys=scratch dirs=2' ARCH=x86 IMAGE=build/x86-up/kernel.elf MEM=8M
x86 PAE, scratch page, 2 directories|$(BOOT) phys=scratch dirs=2' ARCH=x86 IMAGE=build/x86/kernel.elf PAGING=pae MEM=32M
ARM, TTBR1, scratch page, 2 directories|$(BOOT) ttbr=1 phys=scratch dirs=2' ARCH=arm IMAGE=build/arm/kernel.elf MEM=32M
ARM, 64 KiB pages, TTBR1, 8 MiB|$(BOOT) ttbr=1' ARCH=arm IMAGE=build/arm-64k/kernel.elf MEM=8M CPU=cortex-a7
$(if $(KASAN_IMAGES),x86 address-sanitized$(KASAN_LABEL)|$(BOOT)$(KASAN_WITHOUT)' ARCH=x86 IMAGE=build/x86-kasan/kernel.elf MEM=64M)
$(if $(KASAN_IMAGES),ARM address-sanitized$(KASAN_LABEL)|$(BOOT)$(KASAN_WITHOUT)' ARCH=arm IMAGE=build/arm-kasan/kernel.elf MEM=64M)
$(if $(filter 1,$(GC)),threads$(COMMA) suites of the collector|$(call THREADS,host-tsan,collector) $(or $(FILTER),team$(COMMA)mutators))
host 64-bit, address sanitizer|timeout $(LIMIT) build/host-asan/host-test $(FILTER)
arena model|timeout $(LIMIT) sh $(KT)/model/model.sh $(TEST_MODELS)
interleavings|GC=$(GC) timeout $(LIMIT) sh $(KT)/explore/explore.sh quick
simulated x86, 2-level and PAE|timeout $(LIMIT) build/sim-x86
simulated ARM, 4 KiB pages|timeout $(LIMIT) build/sim-arm
simulated ARM, 64 KiB pages|timeout $(LIMIT) build/sim-arm-64k
host 32-bit|timeout $(LIMIT) build/host32/host-test $(FILTER)
host 32-bit, 4 KiB heap pages, one CPU|timeout $(LIMIT) build/host32-p12/host-test $(FILTER)
host 32-bit, 16 KiB heap pages, CPUs by number|timeout $(LIMIT) build/host32-p14/host-test $(FILTER)
$(if $(HAVE_CPUS),x86$(COMMA) 2 CPUs|$(BOOT_CPUS)' ARCH=x86 IMAGE=build/x86/kernel.elf CPUS=2)
$(if $(HAVE_CPUS),x86 PAE$(COMMA) 4 CPUs$(COMMA) scratch pages$(COMMA) 2 directories|$(BOOT_CPUS) phys=scratch dirs=2' ARCH=x86 IMAGE=build/x86/kernel.elf PAGING=pae CPUS=4)
$(if $(HAVE_CPUS),x86$(COMMA) 4 CPUs$(COMMA) in turn|$(BOOT_CPUS) $(COUNTED) ARCH=x86 IMAGE=build/x86/kernel.elf CPUS=4)
$(if $(HAVE_CPUS),ARM$(COMMA) 2 CPUs|$(BOOT_CPUS)' ARCH=arm IMAGE=build/arm/kernel.elf CPUS=2)
$(if $(HAVE_CPUS),ARM$(COMMA) 64 KiB pages$(COMMA) 4 CPUs|$(BOOT_CPUS)' ARCH=arm IMAGE=build/arm-64k/kernel.elf CPUS=4)
$(if $(HAVE_CPUS),ARM$(COMMA) 4 CPUs$(COMMA) in turn|$(BOOT_CPUS) $(COUNTED) ARCH=arm IMAGE=build/arm/kernel.elf CPUS=4)
$(if $(HAVE_CPUS),x86$(COMMA) 4 CPUs$(COMMA) found inline|$(BOOT_CPUS)' ARCH=x86 IMAGE=build/x86-inline/kernel.elf CPUS=4)
$(if $(HAVE_CPUS),ARM$(COMMA) 4 CPUs$(COMMA) found inline|$(BOOT_CPUS)' ARCH=arm IMAGE=build/arm-inline/kernel.elf CPUS=4)
threads, 1 CPU|$(call THREADS,host-cpus1,storms) storms
$(if $(filter 1,$(GC)),threads$(COMMA) 1 CPU$(COMMA) collector|$(call THREADS,host-cpus1,collector) mutators/all_cpus)
threads, 2 CPUs|$(call THREADS,host-cpus2,storms) storms
$(if $(filter 1,$(GC)),threads$(COMMA) 2 CPUs$(COMMA) collector|$(call THREADS,host-cpus2,collector) mutators/all_cpus)
threads, 3 CPUs|$(call THREADS,host-cpus3,storms) storms
$(if $(filter 1,$(GC)),threads$(COMMA) 3 CPUs$(COMMA) collector|$(call THREADS,host-cpus3,collector) mutators/all_cpus)
threads, 64 CPUs|$(call THREADS,host-cpus64,storms) storms
$(if $(filter 1,$(GC)),threads$(COMMA) 64 CPUs$(COMMA) collector|$(call THREADS,host-cpus64,collector) mutators/all_cpus)
$(if $(filter 1,$(GC)),x86$(COMMA) Lisp programs|$(LISP_RUN) $(LISP_PROGRAMS) ARCH=x86 IMAGE=build/x86/kernel.elf)
$(if $(filter 1,$(GC)),ARM$(COMMA) Lisp programs|$(LISP_RUN) $(LISP_PROGRAMS) ARCH=arm IMAGE=build/arm/kernel.elf)
$(if $(filter 1,$(GC)),x86$(COMMA) Lisp prompt|$(LISP_RUN) prompt ARCH=x86 IMAGE=build/x86/kernel.elf)
$(if $(filter 1,$(GC)),ARM$(COMMA) Lisp prompt|$(LISP_RUN) prompt ARCH=arm IMAGE=build/arm/kernel.elf)
x86, accidents explained|$(DEMOS) ARCH=x86 IMAGE=build/x86/kernel.elf
ARM, accidents explained|$(DEMOS) ARCH=arm IMAGE=build/arm/kernel.elf
endef
export TESTS

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
test-images: $(TEST_IMAGES) $(KASAN_IMAGES) $(TEST_HOSTS) $(TEST_SIMS) $(TEST_MODELS) $(EXPLORERS)
test:
	+$(Q)$(MAKE) --no-print-directory -j$(JOBS) test-images
	@echo "$$TESTS" | FILTER='$(FILTER)' sh $(KT)/run-tests.sh build/test

# --- the rest -------------------------------------------------------------------------------------

check: libraries
	$(Q)sh $(KT)/check.sh

# DEEP=1: small faults everywhere (mutate.sh), a sample of COUNT by SEED; DEEP=all: every one.
QUIET = $(filter-out -W% -MMD -MP -g%,$(1)) -O1 -w
mutants: $(if $(DEEP),build/host32-up/host-test build/x86-up/kernel.elf)
ifdef DEEP
	$(Q)DEEP='$(DEEP)' CC='$(CC_host32)' CFLAGS='$(call QUIET,$(CFLAGS_host32-up))' \
	    OBJECTS='$(KT_HOST:%=build/host32-up/$(KT)/%.o) $(MM_OBJECTS_host32-up)' \
	    KERNEL_CC='$(CC_x86)' KERNEL_CFLAGS='$(call QUIET,$(CFLAGS_x86-up))' \
	    KERNEL_OBJECTS='$(KERNEL_x86-up) $(MM_OBJECTS_x86-up) $(PORT_OBJECTS_x86-up)' \
	    KERNEL_LINK='$(CROSS_x86)gcc -nostdlib -static -m32 -no-pie -Wl,-T,linker/x86.ld -Wl,--build-id=none -Wl,-z,max-page-size=0x1000 -Wl,-z,noexecstack' \
	    HOSTCC='$(HOSTCC)' sh $(KT)/mutate.sh
else
	$(Q)sh $(KT)/mutants.sh
endif

# What several CPUs and handlers can do to each other.  REPLAY='scenario:mode:schedule' shows one schedule,
# REPLAY=scenario searches one scenario.
REPLAY ?=
EXPLORER := $(if $(findstring /,$(REPLAY)),build/explore/$(firstword $(subst /, ,$(REPLAY)))/explore,build/explore/explore)
explore: $(EXPLORERS)
	$(Q)$(if $(REPLAY),$(EXPLORER) '$(notdir $(REPLAY))',MAKE='$(MAKE)' GC='$(GC)' sh $(KT)/explore/explore.sh)

deep:
	$(Q)CC='$(CC)' CC_host32='$(CC_host32)' sh $(KT)/deep.sh

INSTALL_ARCHES = $(LIBRARIES)
install: libraries
	install -d $(DESTDIR)$(PREFIX)/include/spanheap/arch $(DESTDIR)$(PREFIX)/include/spanheap/mm
	install -m 644 arch/arch.h $(DESTDIR)$(PREFIX)/include/spanheap/arch
	install -m 644 mm/mm.h $(DESTDIR)$(PREFIX)/include/spanheap/mm
ifneq ($(GC_SOURCES),)
	install -d $(DESTDIR)$(PREFIX)/include/spanheap/gc
	install -m 644 gc/gc.h $(DESTDIR)$(PREFIX)/include/spanheap/gc
endif
	for l in $(LIBRARIES); do install -d $(DESTDIR)$(PREFIX)/lib/spanheap/$$l && \
	    install -m 644 build/$$l/libspanheap.a $(DESTDIR)$(PREFIX)/lib/spanheap/$$l || exit 1; done

clean:
	rm -rf build

help:
	@echo 'make                      the libraries: build/<arch>/libspanheap.a for x86, arm, arm-64k, host'
	@echo 'make run                  boots the test kernel in QEMU and replays allocation traces'
	@echo '    ARCH=x86|arm  PAGING=2level|pae  PAGE=4k|64k  MEM=8M|64M|…  CPUS=1|2|4  TRACE=file'
	@echo '    DEMO=overflow|uaf|doublefree|stray|all    an accident, and what the heap says of it'
	@echo 'make lisp                 a Lisp prompt in QEMU, on the collected heap   ARCH=x86|arm  GCTRACE=1'
	@echo '    FILE=x.lisp           runs programs instead; kernel-test/lisp/ has some'
	@echo 'make test                 all suites: host and booted       FILTER=suite or suite/test'
	@echo 'make soak                 4 CPUs on one heap, interrupts everywhere   ARCH=x86|arm  CPUS=n  CALLS=n  SEED=n'
	@echo 'make check                symbols, layers, sizes, both compilers, example kernels'
	@echo 'make bench ARCH=x86|arm|host   instructions a call and an object, memory ratios   BENCH=prefix'
	@echo 'make bench-peers          on this machine, beside other allocators and collectors   REPEATS=n'
	@echo 'make mutants              breaks the code in known ways; the suites must notice   MUTANT=name'
	@echo 'make mutants DEEP=1       a sample of small faults everywhere   SEED=n COUNT=600; DEEP=all: every one'
	@echo 'make explore              all schedules of CPUs and handlers, up to a bound   REPLAY=scenario:mode:schedule'
	@echo 'make deep                 coverage, fuzzing, a model; skips what is not installed   FUZZ_SECONDS=60'
	@echo 'make install PREFIX=dir   headers and libraries'
	@echo 'make traces               writes the generated trace anew'
	@echo 'make clean'
	@echo 'Everywhere: V=1 shows commands; CC=clang, CROSS_x86=, CROSS_arm= choose compilers;'
	@echo '    OPT=-Os, SH_MAX_CPUS=n, PAGE_SHIFT=12|13|14, SH_CONFIG_HEADER=file, DEFINES=-D… configure.'

# --- benchmarks -----------------------------------------------------------------------------------

# BENCH=prefix: only the lines that begin so.
BENCH ?=
KT_BENCH := printf bench bench_random bench_loads bench_frag $(if $(filter 1,$(GC)),bench_gc) host_bench
BENCH_CONFIG := $(ARCH)$(if $(filter arm-64k,$(ARCH)-$(PAGE)),-64k)
BENCH_FILE := $(if $(filter host,$(ARCH)),host-bench,kernel.elf)

# $(1) = host configuration, $(2) = program, $(3) = its sources: build/$(1)/$(2) over the host port.
define hostbench
build/$(1)/$(2): $(3:%=build/$(1)/$(KT)/%.o) $$(MM_OBJECTS_$(1)) $$(PORT_OBJECTS_$(1))
	$$(call say,LINK $$@)
	$$(Q)$$(CC_$(MACHINE_$(1))) -o $$@ $$(filter %.o,$$^)

$(3:%=build/$(1)/$(KT)/%.o): CFLAGS_$(1) := $$(filter-out -ffreestanding,$$(CFLAGS_$(1))) -I$(KT)
-include $(3:%=build/$(1)/$(KT)/%.d)
endef
$(foreach c,host host-up,$(eval $(call hostbench,$(c),host-bench,$(KT_BENCH))))
$(foreach c,host host-up,$(eval $(call hostbench,$(c),peer-malloc,peer_malloc bench_random)))
$(foreach c,host-up,$(eval $(call hostbench,$(c),peer-spanheap,peer_spanheap bench_random)))
$(foreach c,host-up,$(eval $(call hostbench,$(c),host-prefetch,host_prefetch bench_random)))

# Marking by several CPUs, counted by callgrind.
BENCH_CPUS := $(if $(filter host1,$(ARCH)$(GC)),build/host-cpus/cpus-bench)
BENCH_WORK := $(if $(filter host1,$(ARCH)$(GC)),build/host-up/peer-spanheap)
BENCH_FETCH := $(if $(filter host1,$(ARCH)$(GC)),build/host-up/host-prefetch)
BENCH_MASK := $(if $(filter-out host,$(ARCH)),build/$(BENCH_CONFIG)-mask/kernel.elf)
BENCH_INLINE := $(if $(filter x86 arm,$(BENCH_CONFIG)),build/$(BENCH_CONFIG)-inline/kernel.elf)
bench: build/$(BENCH_CONFIG)-up/$(BENCH_FILE) build/$(BENCH_CONFIG)/$(BENCH_FILE) $(BENCH_INLINE) $(BENCH_MASK) $(BENCH_WORK) $(BENCH_CPUS) $(BENCH_FETCH)
	$(Q)sh $(KT)/bench.sh ARCH=$(ARCH) BENCH='$(BENCH)' PAGING='$(filter pae,$(PAGING))' MEM='$(MEM)' \
	    TIMEOUT='$(TIMEOUT)' WORK='$(BENCH_WORK)' $(filter-out $(BENCH_WORK) $(BENCH_CPUS) $(BENCH_FETCH),$^)
	$(if $(BENCH_FETCH),$(Q)$(BENCH_FETCH) '$(BENCH)')
	$(if $(BENCH_CPUS),$(Q)sh $(KT)/cpus_bench.sh $(BENCH_CPUS) '$(BENCH)')

# The others are built by peers.sh, which finds out what is there.
bench-peers: build/host/libspanheap.a build/host-up/peer-malloc build/host/peer-malloc build/host-up/peer-spanheap
	$(Q)CC='$(HOSTCC)' BENCH='$(BENCH)' REPEATS='$(REPEATS)' sh $(KT)/peers.sh
