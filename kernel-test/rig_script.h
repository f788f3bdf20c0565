/*
 * What only the host's rig can do: a port that follows a script.  A test says how the next
 * reservations are answered, how much may be prepared, which kind of call fails; and reads back
 * every call that the heap made, in order.
 */
#ifndef RIG_SCRIPT_H
#define RIG_SCRIPT_H

#include "arch/arch.h"

enum rig_kind {
    RIG_RESERVE,
    RIG_RELEASE,
    RIG_MAP,
    RIG_COMMIT,
    RIG_DECOMMIT,
    RIG_FAULT,
    RIG_KINDS
};

struct rig_call {
    enum rig_kind kind;
    uintptr_t base;   /* reserve: the hint */
    size_t size;
    uintptr_t result; /* reserve: the address or 0; map and commit: 1 or 0; else 1 */
};

/* Answers to reservations, consumed one a call in the order given; after the last one the donated
 * windows answer again.  rig_script_give names an address inside the rig's area, in a window or
 * not. */
void rig_script_refuse(unsigned count);
void rig_script_give(uintptr_t base);
unsigned rig_script_left(void);

/* The nth reservation from now is answered with this address, whatever is there; nothing is noted. */
void rig_script_lie(unsigned long nth, uintptr_t base);
bool rig_script_lied(void);
unsigned long rig_script_lies_released(void);

/* Bytes that may be Prepared or Ready at once; 0 = any number.  Beyond them map fails. */
void rig_script_prepared_budget(size_t bytes);

/* Fails the nth call of one kind from now (reserve, map or commit), once or from then on; 0 =
 * none. */
void rig_script_fail(enum rig_kind kind, unsigned long nth, bool from_then_on);

/* As rig_script_fail, for commits of the heap's records or of its pages only. */
void rig_script_fail_commit(bool records, unsigned long nth, bool from_then_on);

/* Calls that could have failed, of a kind, and commits of records or pages, since they were told to
 * fail or the last reset. */
unsigned long rig_script_fallible(enum rig_kind kind);
unsigned long rig_script_commits(bool records);

/* Plain memory in the area's first 16 MiB from here on: see rig_area.c.  Resets. */
void rig_script_plain(bool on);

/* The calls since the last reset or rig_script_forget: how many, how many of a kind, and the first
 * 16384 of them. */
void rig_script_forget(void);
unsigned long rig_script_calls(void);
unsigned long rig_script_count(enum rig_kind kind);
const struct rig_call *rig_script_call(unsigned long index);

/* Bytes of the area in that state. */
size_t rig_script_bytes(enum sh_state state);

/* Faults that sh_handle_fault mended since the last reset. */
unsigned long rig_script_mended(void);

#endif
