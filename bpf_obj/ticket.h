/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slot protocol's producer: claim tickets, take the slots of their numbers, publish or abandon them.
 * slot.h states the layout and what a stamp says.
 */
#ifndef LINNIX_REC_TICKET_H
#define LINNIX_REC_TICKET_H

#include "account.h"

const volatile u64 ring_mask = 1023; /* slots - 1; set before loading */

u64 next_ticket PAGE_APART;  /* what all CPUs contend for: nothing else in its lines */
u64 abandon_next PAGE_APART; /* entries ever written to the log */
u64 abandon_log[ABANDON_LOG_ENTRIES] PAGE_APART;

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slot);
} ring SEC(".maps");

/* The fetch-and-add is fully ordered: whatever happened on this CPU before it, such as another task's
 * event that this one depends on, has the lower ticket. */
static ALWAYS_INLINE u64 claim(u32 span)
{
	return __sync_fetch_and_add(&next_ticket, span);
}

/*
 * Become the one owner of the ticket's slot, or return NULL. Each test is needed:
 *   odd            another producer, a lap behind or ahead, is writing there now;
 *   later ticket   this producer slept for a lap; what stands there is newer, and live;
 *   compare-and-swap   either may have become true since the stamp was read.
 * A successful compare-and-swap is fully ordered: no byte of the payload is written before it.
 */
static ALWAYS_INLINE struct slot *take(u64 ticket)
{
	u32 place = ticket & ring_mask;
	struct slot *slot = bpf_map_lookup_elem(&ring, &place);
	u64 stamp;

	if (!slot)
		return 0;
	stamp = *(volatile u64 *)&slot->stamp;
	if (stamp & 1 || stamp > 2 * ticket)
		return 0;
	if (__sync_val_compare_and_swap(&slot->stamp, stamp, 2 * ticket + 1) != stamp)
		return 0;
	return slot;
}

/* The exchange is fully ordered: whoever sees the stamp sees the payload. A plain store, which would be right
 * on x86 alone, was measured to save a tenth of an event's cost; a releasing one needs Linux 6.15. */
static ALWAYS_INLINE void publish(struct slot *slot, u64 ticket)
{
	__sync_lock_test_and_set(&slot->stamp, 2 * ticket + 2);
}

/* A slot that was taken, of a span that is given up, must not stay odd: it would be lost to every lap to
 * come. This stamp is even, below what a reader of this ticket waits for, and above the last lap's. Who
 * reads it knows how many tickets to give up: `span` was written before. */
static ALWAYS_INLINE void release(struct slot *slot, u64 ticket)
{
	__sync_lock_test_and_set(&slot->stamp, 2 * ticket);
}

/* The whole span is given up, even if some of its slots are written: half an event is none. */
static ALWAYS_INLINE void abandon(struct account *account, u32 kind, u64 ticket, u32 span)
{
	u64 entry = __sync_fetch_and_add(&abandon_next, 1) % ABANDON_LOG_ENTRIES;

	__sync_lock_test_and_set(&abandon_log[entry], ticket << ABANDON_SPAN_BITS | span);
	add(&account->abandoned[kind], 1);
	add(&account->abandoned_tickets, span);
}

#endif
