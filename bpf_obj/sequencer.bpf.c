// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Gives every fork, exec and exit one number from one atomic counter, and writes it into the slot of
 * that number. slot.h states the layout, ticket.h is the protocol, programs.h what is traced.
 *
 * Why this order is causal: a task's birth is traced before it first runs, and its exit before its
 * parent can reap it, so whatever one event could have caused takes its ticket later. The fetch-and-add
 * is one total order of all CPUs; clocks are not, which is why boot_ns is data and the ticket the order.
 */
#include "ticket.h"

struct place {
	u64 ticket; /* the event's first */
};

#include "channel.h"

static ALWAYS_INLINE bool open_span(struct event *event)
{
	event->place->ticket = claim(event->span);
	event->head = take(event->place->ticket);
	if (!event->head)
		abandon(event->account, event->kind, event->place->ticket, event->span);
	return event->head;
}

static ALWAYS_INLINE struct slot *further_slot(struct event *event, u32 i)
{
	struct slot *slot = take(event->place->ticket + i);

	if (!slot) {
		release(event->head, event->place->ticket);
		abandon(event->account, event->kind, event->place->ticket, event->span);
	}
	return slot;
}

static ALWAYS_INLINE void further_slot_written(struct event *event, struct slot *slot, u32 i)
{
	publish(slot, event->place->ticket + i);
}

/* The first slot is published last, as until here it may still change. */
static ALWAYS_INLINE void close_span(struct event *event)
{
	publish(event->head, event->place->ticket);
	add(&event->account->published_tickets, event->span);
}

static ALWAYS_INLINE bool open_event(struct event *event)
{
	return open_span(event);
}

static ALWAYS_INLINE void close_event(struct event *event)
{
	close_span(event);
}

#include "programs.h"
#include "syscalls.h"
