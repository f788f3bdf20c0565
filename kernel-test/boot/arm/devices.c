/*
 * What QEMU hands over: the flattened device tree (memory, CPUs, command line) and, through the firmware
 * configuration device, the modules: files named opt/spanheap/<number>/<name>.
 */
#include "arm.h"

enum { NODE = 1, NODE_END = 2, PROPERTY = 3, TREE_END = 9 };

static bool same(const char *a, const char *b)
{
    for (; *a != 0 && *a == *b; a++)
        b++;
    return *a == *b;
}

static bool begins(const char *text, const char *with)
{
    for (; *with != 0; with++)
        if (*text++ != *with)
            return false;
    return true;
}

static size_t length_of(const char *text)
{
    size_t length = 0;

    while (text[length] != 0)
        length++;
    return length;
}

/* Only "memory@…" with 64-bit cells and "chosen" are looked at, both right below the root. */
static void read_property(const char *node, const char *name, const uint32_t *value,
                          sh_paddr *ram_size)
{
    if (begins(node, "memory@") && same(name, "reg"))
        *ram_size = (sh_paddr)arm_big_endian(value[2]) << 32 | arm_big_endian(value[3]);
    if (same(node, "chosen") && same(name, "bootargs"))
        k_command_line_set((const char *)value);
}

void arm_read_device_tree(const void *tree, sh_paddr *ram_size, unsigned *cpus)
{
    const uint32_t *header = tree;
    const uint32_t *token = header + arm_big_endian(header[2]) / 4;
    const char *strings = (const char *)tree + arm_big_endian(header[3]);
    const char *node = "";

    if (arm_big_endian(header[0]) != 0xD00DFEED)
        return;
    for (;;) {
        uint32_t kind = arm_big_endian(*token++);

        if (kind == NODE) {
            node = (const char *)token;
            *cpus += begins(node, "cpu@");
            token += length_of(node) / 4 + 1;
        } else if (kind == PROPERTY) {
            uint32_t size = arm_big_endian(token[0]);

            read_property(node, strings + arm_big_endian(token[1]), token + 2, ram_size);
            token += 2 + (size + 3) / 4;
        } else if (kind == NODE_END) {
            node = "";
        } else if (kind == TREE_END) {
            return;
        }
    }
}

/* A transfer that the device makes itself; all its fields are big-endian. */
struct transfer {
    uint32_t control, length, address_high, address_low;
};

#define TRANSFER_READ 0x02u
#define TRANSFER_SELECT 0x08u
#define FILE_DIRECTORY 0x19u

static void read_firmware(uint32_t control, void *to, uint32_t size)
{
    static volatile struct transfer transfer;
    uintptr_t self = (uintptr_t)&transfer - K_DIRECT_BASE + ARM_RAM;

    transfer.length = arm_big_endian(size);
    transfer.address_high = 0;
    transfer.address_low = arm_big_endian((uint32_t)((uintptr_t)to - K_DIRECT_BASE + ARM_RAM));
    transfer.control = arm_big_endian(control | TRANSFER_READ);
    ARM_SYNC();
    *(volatile uint32_t *)(ARM_FW_CFG + 16) = 0;
    *(volatile uint32_t *)(ARM_FW_CFG + 20) = arm_big_endian((uint32_t)self);
    while ((transfer.control & ~arm_big_endian(1)) != 0)
        k_pause();
    if (transfer.control != 0)
        k_panic("the firmware configuration device refused", control);
}

struct file {
    uint32_t size;    /* big-endian */
    uint32_t key;     /* big-endian, in the upper half */
    char name[56];
};

/* Modules go to whole pages right behind the image, before anybody allocates frames. */
void arm_read_modules(sh_paddr ram_size)
{
    static struct file files[64];
    uint8_t *to = (uint8_t *)k_image_end;
    uint32_t count;

    read_firmware(FILE_DIRECTORY << 16 | TRANSFER_SELECT, &count, 4);
    count = arm_big_endian(count);
    if (count > 64)
        k_panic("more firmware files than expected", count);
    read_firmware(0, files, count * (uint32_t)sizeof files[0]);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = arm_big_endian(files[i].size), key = arm_big_endian(files[i].key) >> 16;

        if (!begins(files[i].name, "opt/spanheap/"))
            continue;
        if ((uintptr_t)to - K_DIRECT_BASE + size > ram_size)
            k_panic("the modules need more RAM", size);
        read_firmware(key << 16 | TRANSFER_SELECT, to, size);
        k_memory_reserve((uintptr_t)to - K_DIRECT_BASE + ARM_RAM, size);
        k_module_add(files[i].name, to, size);
        to += (size + 4095u) & ~4095u;
    }
}
