// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The same events through perf buffers: one a CPU, so that no two producers meet, and no order between
 * them but what timestamps tell. What finds no room is lost, and the buffer says so when it has room again.
 */
#include "scratch.h"

struct place {
	struct scratch *scratch; /* an exec's */
	struct slot slot;        /* any other's: a program that is interrupted keeps its own */
};

#include "channel.h"

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 4);
	MAP_UINT(max_entries, 1); /* possible CPUs; set before loading */
} events SEC(".maps");

/* It is put together here, and copied. */
static ALWAYS_INLINE bool open_event(struct event *event)
{
	event->place->slot = (struct slot){};
	event->head = &event->place->slot;
	return true;
}

static ALWAYS_INLINE void hand_over(struct event *event, u64 bytes)
{
	if (bpf_perf_event_output(event->ctx, &events, BPF_F_CURRENT_CPU, event->head, bytes))
		count_dropped(event->account, event->kind);
	else
		count_taken(event->account);
}

static ALWAYS_INLINE void close_event(struct event *event)
{
	hand_over(event, sizeof(struct slot));
}

static ALWAYS_INLINE bool open_span(struct event *event)
{
	struct scratch *scratch = take_scratch();

	if (!scratch) {
		count_dropped(event->account, event->kind);
		return false;
	}
	event->place->scratch = scratch;
	event->head = scratch->slots;
	event->head->stamp = 0;
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
	hand_over(event, scratch_bytes(event->span));
	leave_scratch(event->place->scratch);
}

#include "programs.h"
