/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where an event of several slots is put together before it is copied into a channel's buffer.
 */
#ifndef LINNIX_REC_SCRATCH_H
#define LINNIX_REC_SCRATCH_H

#include "account.h"

struct scratch {
	struct slot slots[SPAN_MAX];
	u64 taken;
	u64 unused[15]; /* CPUs share no cache line */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1); /* possible CPUs; set before loading */
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct scratch);
} scratches SEC(".maps");

/* This CPU's, or NULL if a program that was interrupted here is using it. */
static ALWAYS_INLINE struct scratch *take_scratch(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &cpu);

	if (!scratch || __sync_lock_test_and_set(&scratch->taken, 1))
		return 0;
	return scratch;
}

static ALWAYS_INLINE void leave_scratch(struct scratch *scratch)
{
	__sync_lock_test_and_set(&scratch->taken, 0);
}

/* At most all of it: the verifier has lost sight of the span. */
static ALWAYS_INLINE u64 scratch_bytes(u32 span)
{
	u64 bytes = (u64)span * sizeof(struct slot);

	asm volatile("" : "+r"(bytes));
	return bytes > sizeof(((struct scratch *)0)->slots) ? sizeof(((struct scratch *)0)->slots) : bytes;
}

static ALWAYS_INLINE void count_taken(struct account *account)
{
	add(&account->published_tickets, 1);
}

/* The channel had no room for the event. */
static ALWAYS_INLINE void count_dropped(struct account *account, u32 kind)
{
	add(&account->abandoned[kind], 1);
	add(&account->abandoned_tickets, 1);
}

#endif
