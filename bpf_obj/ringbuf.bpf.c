// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The same events through the kernel's BPF ring buffer: one buffer for all CPUs, whose producers take a
 * lock to reserve. Its order is that of the reservations, and it keeps the old: what finds no room is lost.
 */
#include "scratch.h"

struct place {
	struct scratch *scratch; /* an exec's */
};

#include "channel.h"

const volatile u64 wakeup_flags = 0; /* BPF_RB_*, or 0: wake a reader that has caught up */
const volatile u64 wakeup_every = 0; /* if not 0: wake at each so manieth event of a CPU, and at no other */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 24); /* bytes; set before loading */
} events SEC(".maps");

/* Whom the CPU's event of that number wakes. */
static ALWAYS_INLINE u64 wakeup(u64 number)
{
	if (!wakeup_every)
		return wakeup_flags;
	return number % wakeup_every ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;
}

/* There are no tickets, so the stamp is free. It says how many events this CPU had lost by then: the buffer
 * itself only refuses, and the reader would not know where. */
static ALWAYS_INLINE void stamp(struct event *event)
{
	event->head->stamp = event->account->abandoned_tickets;
}

/* What has one size is written where it stays. */
static ALWAYS_INLINE bool open_event(struct event *event)
{
	event->head = bpf_ringbuf_reserve(&events, sizeof(struct slot), 0);
	if (!event->head) {
		count_dropped(event->account, event->kind);
		return false;
	}
	stamp(event);
	return true;
}

static ALWAYS_INLINE void close_event(struct event *event)
{
	count_taken(event->account);
	bpf_ringbuf_submit(event->head, wakeup(event->account->published_tickets));
}

/* A reservation's size must be known to the verifier, and an exec's is not: it is put together elsewhere,
 * and copied. */
static ALWAYS_INLINE bool open_span(struct event *event)
{
	struct scratch *scratch = take_scratch();

	if (!scratch) {
		count_dropped(event->account, event->kind);
		return false;
	}
	event->place->scratch = scratch;
	event->head = scratch->slots;
	stamp(event);
	return true;
}

static ALWAYS_INLINE struct slot *further_slot(struct event *event, u32 i)
{
	return &event->place->scratch->slots[i];
}

static ALWAYS_INLINE void further_slot_written(struct event *event, struct slot *slot, u32 i)
{
}

static ALWAYS_INLINE void close_span(struct event *event)
{
	u64 flags = wakeup(event->account->published_tickets + 1);

	if (bpf_ringbuf_output(&events, event->head, scratch_bytes(event->span), flags))
		count_dropped(event->account, event->kind);
	else
		count_taken(event->account);
	leave_scratch(event->place->scratch);
}

#include "programs.h"
