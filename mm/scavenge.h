/*
 * Giving frames back: what sh_trim and the limit do.
 */
#ifndef MM_SCAVENGE_H
#define MM_SCAVENGE_H

#include "mm/config.h"

/* Empties this CPU's caches of what holds no live object and gives idle frames back until at most `keep`
 * bytes are committed and free.  With 0 nothing is held back any more.  Bytes given back. */
MM_CALL size_t mm_scavenge(size_t keep);

#endif
