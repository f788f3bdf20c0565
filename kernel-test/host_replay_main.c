/*
 * Replays allocation traces on the host:  host-replay file.trace …
 *
 * The same replay.c as in the booted kernel, over the host's rig; files take the place of modules.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernel-test/kernel.h"

static struct k_module modules[K_MAX_MODULES];
static unsigned module_count;

void k_putc(char c)
{
    putchar(c);
}

void k_exit(bool pass)
{
    fflush(stdout);
    exit(pass ? 0 : 1);
}

void k_frames_check(bool on)
{
    (void)on;
}

/* Nanoseconds: the host has no instruction counter that repeats. */
uint32_t k_cycles(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000000000u + (uint32_t)now.tv_nsec;
}

const struct k_module *k_modules(unsigned *count)
{
    *count = module_count;
    return modules;
}

static const char *last_part(const char *path)
{
    const char *name = path;

    for (; *path != 0; path++)
        if (*path == '/')
            name = path + 1;
    return name;
}

static bool load(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, room = 0, got = 1;

    if (file == NULL)
        return false;
    while (got > 0 && ferror(file) == 0) {
        if (size == room) {
            room = room * 2 + 65536;
            data = realloc(data, room);
            if (data == NULL)
                return false;
        }
        got = fread(data + size, 1, room - size, file);
        size += got;
    }
    if (ferror(file) != 0)
        return false;
    fclose(file);
    modules[module_count++] = (struct k_module){ last_part(path), data, size };
    return true;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 1; i < argc; i++) {
        if (module_count == K_MAX_MODULES) {
            printf("trace: %s: more than %d files\n", argv[i], K_MAX_MODULES);
            return 1;
        }
        if (!load(argv[i])) {
            printf("trace: %s: cannot be read\n", argv[i]);
            return 1;
        }
    }
    return replay_main();
}
