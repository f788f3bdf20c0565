/*
 * Blocks that say whether they are whole, and numbers to draw: nothing of a heap, a rig or a machine.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills with, or checks for, the pattern that belongs to the seed. */
void t_fill(void *p, size_t size, uint32_t seed);
bool t_holds(const void *p, size_t size, uint32_t seed);
bool t_is_zero(const void *p, size_t size);

/* A number below `limit`, evenly enough. */
uint32_t t_below(uint32_t *state, uint32_t limit);

#endif
