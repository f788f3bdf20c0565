/*
 * What the host port offers a Linux program beyond arch.h.
 */
#ifndef SPANHEAP_HOST_H
#define SPANHEAP_HOST_H

#include <stddef.h>
#include <stdint.h>

/* Finds `size` bytes of free address space, aligned to 4 MiB (64 MiB if it is that large and
 * there is room), and donates them.  The address, or 0. */
uintptr_t sh_host_window(size_t size);

#endif
