// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What it costs to hand over an event, channel by channel, with nothing traced: for `linnix-rec bench publish`.
 *
 * User space runs a program on each CPU at once by BPF_PROG_TEST_RUN. The programs wait for each other, then
 * each hands over `events` events between two readings of the clock, and goes on, unmeasured, until the last
 * of them is done: so each measured event meets as many producers as there are CPUs. An event is 128 bytes a
 * slot in every channel, all of them written.
 *
 * bpf_loop() needs Linux 5.17, which is why this is an object of its own.
 */
#include "scratch.h"
#include "ticket.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static long (*const bpf_loop)(u32 times, void *function, void *context, u64 flags) = (void *)181;
static void (*const bpf_ringbuf_discard)(void *record, u64 flags) = (void *)133;

/* Of who waits for the others, some 10 ms: counted, not timed, as preemption is off meanwhile, and a CPU that
 * never comes must not be waited for long. bpf_loop() itself ends at 1 << 23. */
#define LOOKS_MAX (1 << 20)

/* Set before each run. */
u64 cpus PAGE_APART;   /* that run at once */
u64 events PAGE_APART; /* that each of them hands over, measured */

u64 arrived PAGE_APART; /* CPUs that are ready to begin */
u64 done PAGE_APART;    /* CPUs that have handed over all that is measured */

u64 bare_ticket PAGE_APART; /* as next_ticket, for the limit */

/* What one CPU says of its last run. */
struct turn {
	u64 begin_ns;
	u64 end_ns;
	u64 refused; /* events that found no room */
	u64 alone;   /* the others did not come, or did not end */
	u64 unused[12];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 1); /* possible CPUs; set before loading */
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct turn);
} turns SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 12); /* bytes; set before loading */
} ringbuf SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 4);
	MAP_UINT(max_entries, 1); /* possible CPUs; set before loading */
} perfbuf SEC(".maps");

/* ---- The channels: hand over one event; false if there was no room ----------------------------------- */

/* All but the stamp, which the sequencer writes itself. Volatile: no store may be left out, or moved. */
static ALWAYS_INLINE void write_payload(struct slot *slot, u64 value)
{
	volatile u64 *words = (void *)slot;
	u32 i;

#pragma clang loop unroll(full)
	for (i = 1; i < sizeof(*slot) / sizeof(*words); i++)
		words[i] = value;
}

static ALWAYS_INLINE void write_slot(struct slot *slot, u64 value)
{
	*(volatile u64 *)&slot->stamp = 0;
	write_payload(slot, value);
}

static ALWAYS_INLINE bool nothing(void *ctx, u64 i)
{
	return true;
}

/* What no numbering channel can do without: the number, and the bytes. It may overwrite a live event. */
static ALWAYS_INLINE bool bare(void *ctx, u64 i)
{
	u32 place = __sync_fetch_and_add(&bare_ticket, 1) & ring_mask;
	struct slot *slot = bpf_map_lookup_elem(&ring, &place);

	if (!slot)
		return false;
	write_slot(slot, i);
	return true;
}

static ALWAYS_INLINE bool sequenced(u64 i, u32 span)
{
	u64 ticket = claim(span);
	struct slot *head = take(ticket);
	struct slot *slot;
	u32 further;

	if (!head)
		return false;
	write_payload(head, i);
	for (further = 1; further < span; further++) {
		slot = take(ticket + further);
		if (!slot) {
			release(head, ticket);
			return false;
		}
		write_payload(slot, i);
		publish(slot, ticket + further);
	}
	publish(head, ticket);
	return true;
}

static ALWAYS_INLINE bool sequencer_1(void *ctx, u64 i)
{
	return sequenced(i, 1);
}

static ALWAYS_INLINE bool sequencer_4(void *ctx, u64 i)
{
	return sequenced(i, 4);
}

static ALWAYS_INLINE bool sequencer_16(void *ctx, u64 i)
{
	return sequenced(i, 16);
}

/* The sequencer wakes nobody, so the ring buffer need not, either. */
static ALWAYS_INLINE bool ringbuf_submit(void *ctx, u64 i)
{
	struct slot *slot = bpf_ringbuf_reserve(&ringbuf, sizeof(*slot), 0);

	if (!slot)
		return false;
	write_slot(slot, i);
	bpf_ringbuf_submit(slot, BPF_RB_NO_WAKEUP);
	return true;
}

static ALWAYS_INLINE bool ringbuf_discard(void *ctx, u64 i)
{
	struct slot *slot = bpf_ringbuf_reserve(&ringbuf, sizeof(*slot), 0);

	if (!slot)
		return false;
	write_slot(slot, i);
	bpf_ringbuf_discard(slot, BPF_RB_NO_WAKEUP);
	return true;
}

static ALWAYS_INLINE bool ringbuf_output_1(void *ctx, u64 i)
{
	struct slot slot;

	write_slot(&slot, i);
	return !bpf_ringbuf_output(&ringbuf, &slot, sizeof(slot), BPF_RB_NO_WAKEUP);
}

static ALWAYS_INLINE bool perfbuf_output_1(void *ctx, u64 i)
{
	struct slot slot;

	write_slot(&slot, i);
	return !bpf_perf_event_output(ctx, &perfbuf, BPF_F_CURRENT_CPU, &slot, sizeof(slot));
}

static ALWAYS_INLINE struct scratch *written_scratch(u64 i, u32 span)
{
	struct scratch *scratch = take_scratch();
	u32 at;

	if (!scratch)
		return 0;
	for (at = 0; at < span; at++)
		write_slot(&scratch->slots[at], i);
	return scratch;
}

static ALWAYS_INLINE bool ringbuf_output(u64 i, u32 span)
{
	struct scratch *scratch = written_scratch(i, span);
	long refused;

	if (!scratch)
		return false;
	refused = bpf_ringbuf_output(&ringbuf, scratch->slots, span * sizeof(struct slot), BPF_RB_NO_WAKEUP);
	leave_scratch(scratch);
	return !refused;
}

static ALWAYS_INLINE bool ringbuf_output_4(void *ctx, u64 i)
{
	return ringbuf_output(i, 4);
}

static ALWAYS_INLINE bool ringbuf_output_16(void *ctx, u64 i)
{
	return ringbuf_output(i, 16);
}

static ALWAYS_INLINE bool perfbuf_output(void *ctx, u64 i, u32 span)
{
	struct scratch *scratch = written_scratch(i, span);
	long refused;

	if (!scratch)
		return false;
	refused = bpf_perf_event_output(ctx, &perfbuf, BPF_F_CURRENT_CPU, scratch->slots, span * sizeof(struct slot));
	leave_scratch(scratch);
	return !refused;
}

static ALWAYS_INLINE bool perfbuf_output_4(void *ctx, u64 i)
{
	return perfbuf_output(ctx, i, 4);
}

static ALWAYS_INLINE bool perfbuf_output_16(void *ctx, u64 i)
{
	return perfbuf_output(ctx, i, 16);
}

/* ---- One CPU's turn ----------------------------------------------------------------------------------- */

struct runner {
	void *ctx; /* the program's */
	struct turn *turn;
};

static ALWAYS_INLINE u64 now(u64 *counter)
{
	return *(volatile u64 *)counter;
}

static int all_arrived(u64 i, void *unused)
{
	return now(&arrived) >= cpus;
}

static ALWAYS_INLINE void meet(void)
{
	__sync_fetch_and_add(&arrived, 1);
	bpf_loop(LOOKS_MAX, all_arrived, 0, 0);
}

static ALWAYS_INLINE struct turn *this_turn(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&turns, &cpu);
}

#define MEASURE(channel)                                                       \
	static int channel##_measured(u64 i, struct runner *runner)            \
	{                                                                      \
		if (!channel(runner->ctx, i))                                  \
			runner->turn->refused++;                               \
		return 0;                                                      \
	}                                                                      \
                                                                               \
	static int channel##_until_all_are_done(u64 i, struct runner *runner)  \
	{                                                                      \
		channel(runner->ctx, i);                                       \
		return now(&done) >= cpus;                                     \
	}                                                                      \
                                                                               \
	SEC("raw_tp/test_run")                                                 \
	int publish_##channel(void *ctx)                                       \
	{                                                                      \
		struct runner runner = { .ctx = ctx, .turn = this_turn() };    \
                                                                               \
		if (!runner.turn)                                              \
			return 0;                                              \
		runner.turn->refused = 0;                                      \
		meet();                                                        \
		runner.turn->alone = now(&arrived) < cpus;                     \
		runner.turn->begin_ns = bpf_ktime_get_boot_ns();               \
		bpf_loop(events, channel##_measured, &runner, 0);              \
		runner.turn->end_ns = bpf_ktime_get_boot_ns();                 \
		__sync_fetch_and_add(&done, 1);                                \
		bpf_loop(LOOKS_MAX, channel##_until_all_are_done, &runner, 0); \
		runner.turn->alone |= now(&done) < cpus;                       \
		return 0;                                                      \
	}

MEASURE(nothing)
MEASURE(bare)
MEASURE(sequencer_1)
MEASURE(sequencer_4)
MEASURE(sequencer_16)
MEASURE(ringbuf_submit)
MEASURE(ringbuf_discard)
MEASURE(ringbuf_output_1)
MEASURE(ringbuf_output_4)
MEASURE(ringbuf_output_16)
MEASURE(perfbuf_output_1)
MEASURE(perfbuf_output_4)
MEASURE(perfbuf_output_16)
