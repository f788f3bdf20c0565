# What only `make check` builds, with the Makefile's own rules and flags.  check.sh reads this behind
# the Makefile: make -f Makefile -f kernel-test/check/check.mk build/check-p12-x86/libspanheap.a

# Heap page sizes and CPUs that no other configuration has.  13 and 8 are the default.
CHECK_CONFIGS := check-p12-x86 check-p14-x86 check-os-x86 \
    check-p12-arm check-p14-arm check-up-arm check-p12-arm-64k check-p14-arm-64k check-up-arm-64k \
    check-number-x86 check-number-arm
CHECK_CLANG := check-clang-x86 check-clang-arm check-clang-host

$(foreach c,$(CHECK_CONFIGS) $(CHECK_CLANG),$(eval SHIFT_$(c) := 13))
$(foreach c,$(filter check-p12-%,$(CHECK_CONFIGS)),$(eval SHIFT_$(c) := 12))
$(foreach c,$(filter check-p14-%,$(CHECK_CONFIGS)),$(eval SHIFT_$(c) := 14))
$(foreach c,$(filter check-p12-% check-up-%,$(CHECK_CONFIGS)),$(eval EXTRA_$(c) := -DSH_MAX_CPUS=1))
$(foreach c,$(filter %-64k,$(CHECK_CONFIGS)),$(eval EXTRA_$(c) += -DSH_ARCH_PAGE_SHIFT=16))
$(foreach c,$(CHECK_CONFIGS),$(eval MACHINE_$(c) := $(if $(filter %-x86,$(c)),x86,arm)))
$(foreach m,x86 arm,$(eval EXTRA_check-number-$(m) := '-DSH_CONFIG_HEADER="kernel-test/boot/$(m)/number.h"'))
EXTRA_check-os-x86 := -Os -DSH_MAX_CPUS=1

# The three machines again, by clang.
CC_clang-x86 := clang --target=i686-linux-gnu
CC_clang-arm := clang --target=armv7a-none-linux-gnueabi
CC_clang-host := clang
define clang_machine
MACHINE_check-clang-$(1) := clang-$(1)
PORT_clang-$(1) := $(1)
FLAGS_clang-$(1) := $$(FLAGS_$(1))
LD_clang-$(1) := $$(LD_$(1))
OBJCOPY_clang-$(1) := $$(OBJCOPY_$(1))
endef
$(foreach m,x86 arm host,$(eval $(call clang_machine,$(m))))
FLAGS_clang-x86 := $(patsubst -mpreferred-stack-boundary=%,-mstack-alignment=4,$(FLAGS_x86))

$(foreach c,$(CHECK_CONFIGS) $(CHECK_CLANG),$(eval $(call configuration,$(c))))

# The examples: kernel-test/example/$(1).c for machine $(2).
define example
build/check/$(1).o: $(KT)/example/$(1).c build/flags
	@mkdir -p $$(@D)
	$$(Q)$$(CC_$(2)) $$(CFLAGS_$(2)) -Wno-missing-prototypes -c -o $$@ $$<

build/check/$(1).elf: build/check/$(1).o build/$(2)/libspanheap.a $(KT)/example/$(2).ld
	$$(Q)$$(CHECK_LINK_$(2)) -o $$@ $$(filter %.o %.a,$$^)
endef
CHECK_LINK_x86 := $(CROSS_x86)gcc -m32 -nostdlib -static -no-pie -Wl,-T,$(KT)/example/x86.ld
CHECK_LINK_arm := $(CROSS_arm)gcc -nostdlib -static -Wl,-T,$(KT)/example/arm.ld
$(eval $(call example,x86,x86))
$(eval $(call example,arm,arm))
$(eval $(call example,own_vm,x86))

# The x86 example once more, with the six functions in an archive of their own, on either side.
CHECK_HOOKS := frame_alloc frame_free phys_to_virt root_table panic cpu
build/check/hooks-main.o: build/check/x86.o
	$(Q)$(OBJCOPY_x86) $(foreach h,$(CHECK_HOOKS),--redefine-sym sh_kernel_$(h)=kernel_$(h)) $< $@

build/check/hooks.a: $(KT)/check/hooks.c build/flags
	@mkdir -p $(@D)
	$(Q)$(CC_x86) $(CFLAGS_x86) -c -o build/check/hooks.o $<
	@rm -f $@
	$(Q)ar rcs $@ build/check/hooks.o

build/check/hooks-after.elf: build/check/hooks-main.o build/x86/libspanheap.a build/check/hooks.a
	$(Q)$(CHECK_LINK_x86) -o $@ $^

build/check/hooks-before.elf: build/check/hooks-main.o build/check/hooks.a build/x86/libspanheap.a
	$(Q)$(CHECK_LINK_x86) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

# What check.sh asks for: make show-NAME prints a variable.
show-%:
	@echo '$($*)'

CHECK_SIZE_OBJECTS = $(filter-out build/check-os-x86/gc/%,$(MM_OBJECTS_check-os-x86)) $(PORT_OBJECTS_check-os-x86)
.PHONY: check-size
check-size: $(CHECK_SIZE_OBJECTS)
	@size -t $^

# Flags above changed: build anew.
$(foreach c,$(CHECK_CONFIGS) $(CHECK_CLANG),$(MM_OBJECTS_$(c)) $(PORT_OBJECTS_$(c))): $(KT)/check/check.mk
