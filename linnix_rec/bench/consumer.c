// SPDX-License-Identifier: Apache-2.0
/*
 * A reader of the BPF ring buffer as one would write it in C: libbpf's ring_buffer__consume() calls a function
 * for each record, which copies the event's fields into columns. It stands beside our own readers in
 * `linnix-rec bench drain`, which builds it where libbpf is installed.
 *
 *     consumer MAP_FD PAGE_BYTES
 *
 * MAP_FD is an inherited descriptor of the map. Reads all that is there once, and prints one JSON object:
 * events, CPU time of the reading in ns, and sums that show that everything was read. Like our readers it
 * makes batches, and begins each anew in the same memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/libbpf.h>

#include "slot.h"

#define ROWS (1 << 14)
#define TEXT_BYTES ((size_t)ROWS * SPAN_MAX * SLOT_TEXT_BYTES)

struct columns {
	u32 rows;
	u32 arguments;
	u32 filename_bytes;
	u32 argument_bytes;

	u64 seq[ROWS];
	u8 kind[ROWS];
	long long boot_ns[ROWS];
	long long time_us[ROWS];
	u16 cpu[ROWS];
	s32 tid[ROWS], tgid[ROWS];
	u64 start_ns[ROWS];
	s32 parent_tid[ROWS], parent_tgid[ROWS];
	u64 parent_start_ns[ROWS];
	u32 uid[ROWS], gid[ROWS];
	u64 cgroup_id[ROWS];
	u8 comm[ROWS][COMM_BYTES];

	u8 is_fork[ROWS / 8];
	s32 child_tid[ROWS], child_tgid[ROWS];
	u64 child_start_ns[ROWS];
	u64 clone_flags[ROWS];

	u8 is_exec[ROWS / 8];
	u32 filename_ends[ROWS]; /* in `filenames` */
	u32 argv_ends[ROWS];     /* in `argument_ends` */
	u8 argv_truncated[ROWS / 8];
	s32 old_tid[ROWS];

	u8 has_usage[ROWS / 8]; /* exits and tasks */
	u64 cpu_ns[ROWS], utime_ns[ROWS], stime_ns[ROWS];
	u64 min_faults[ROWS], maj_faults[ROWS];

	u8 is_exit[ROWS / 8];
	s32 exit_code[ROWS];
	u8 exit_signal[ROWS];
	u8 core_dumped[ROWS / 8];
	u8 last_thread[ROWS / 8]; /* also: max_rss_bytes is there */
	u64 max_rss_bytes[ROWS];

	u8 is_task[ROWS / 8];
	u32 exit_state[ROWS];
	u32 task_flags[ROWS];

	u8 filenames[TEXT_BYTES];
	u8 arguments_text[TEXT_BYTES];
	u32 argument_ends[TEXT_BYTES]; /* in `arguments_text` */
};

struct reading {
	struct columns *columns;
	u64 page_bytes;
	long long realtime_offset_ns;
	u64 events;
	u64 boot_ns_sum; /* modulo 2^64 */
	u64 text_bytes;
	u64 arguments;
};

static void set_bit(u8 *bits, u32 row, int value)
{
	bits[row / 8] |= (value != 0) << row % 8;
}

/* The bits alone: a value that does not apply is whatever stood there. */
static void begin_batch(struct columns *columns)
{
	columns->rows = columns->arguments = columns->filename_bytes = columns->argument_bytes = 0;
	memset(columns->is_fork, 0, sizeof(columns->is_fork));
	memset(columns->is_exec, 0, sizeof(columns->is_exec));
	memset(columns->argv_truncated, 0, sizeof(columns->argv_truncated));
	memset(columns->has_usage, 0, sizeof(columns->has_usage));
	memset(columns->is_exit, 0, sizeof(columns->is_exit));
	memset(columns->core_dumped, 0, sizeof(columns->core_dumped));
	memset(columns->last_thread, 0, sizeof(columns->last_thread));
	memset(columns->is_task, 0, sizeof(columns->is_task));
}

static void take_fork(struct columns *columns, u32 row, const struct slot *slot)
{
	set_bit(columns->is_fork, row, 1);
	columns->child_tid[row] = slot->fork.child_tid;
	columns->child_tgid[row] = slot->fork.child_tgid;
	columns->child_start_ns[row] = slot->fork.child_start_ns;
	columns->clone_flags[row] = slot->fork.clone_flags;
}

/* Copies `bytes` of the span's text, which goes on in slot after slot, to `to`; gives the slot behind it. */
static const struct slot *copy_text(u8 *to, const struct slot *slot, u32 bytes)
{
	while (bytes) {
		u32 here = bytes < SLOT_TEXT_BYTES ? bytes : SLOT_TEXT_BYTES;

		memcpy(to, slot->text, here);
		to += here;
		bytes -= here;
		slot++;
	}
	return slot;
}

static void take_exec(struct reading *reading, u32 row, const struct slot *slot)
{
	struct columns *columns = reading->columns;
	u32 filename_bytes = slot->exec.filename_bytes, argv_bytes = slot->exec.argv_bytes;
	u32 in_head = filename_bytes < HEAD_TEXT_BYTES ? filename_bytes : HEAD_TEXT_BYTES;
	u8 *filename = columns->filenames + columns->filename_bytes;
	const struct slot *arguments;
	u8 argv[SPAN_MAX * SLOT_TEXT_BYTES];
	u32 begin = 0;

	set_bit(columns->is_exec, row, 1);
	set_bit(columns->argv_truncated, row, slot->flags & EXEC_TEXT_CUT);
	columns->old_tid[row] = slot->exec.old_tid;
	memcpy(filename, slot->exec.text, in_head);
	arguments = copy_text(filename + in_head, slot + 1, filename_bytes - in_head);
	columns->filename_bytes += filename_bytes;

	copy_text(argv, arguments, argv_bytes);
	while (begin < argv_bytes) {
		const u8 *end = memchr(argv + begin, 0, argv_bytes - begin);
		u32 bytes = end ? end - (argv + begin) : argv_bytes - begin;

		memcpy(columns->arguments_text + columns->argument_bytes, argv + begin, bytes);
		columns->argument_bytes += bytes;
		columns->argument_ends[columns->arguments++] = columns->argument_bytes;
		reading->text_bytes += bytes;
		reading->arguments++;
		begin += bytes + 1;
	}
	reading->text_bytes += filename_bytes;
}

static void take_usage(struct columns *columns, u32 row, const struct slot *slot)
{
	set_bit(columns->has_usage, row, 1);
	columns->cpu_ns[row] = slot->usage.cpu_ns;
	columns->utime_ns[row] = slot->usage.utime_ns;
	columns->stime_ns[row] = slot->usage.stime_ns;
	columns->min_faults[row] = slot->usage.min_faults;
	columns->maj_faults[row] = slot->usage.maj_faults;
}

static void take_exit(struct reading *reading, u32 row, const struct slot *slot)
{
	struct columns *columns = reading->columns;

	set_bit(columns->is_exit, row, 1);
	columns->exit_code[row] = slot->status >> 8;
	columns->exit_signal[row] = slot->status & 0x7f;
	set_bit(columns->core_dumped, row, slot->status & 0x80);
	set_bit(columns->last_thread, row, slot->flags & EXIT_LAST_THREAD);
	columns->max_rss_bytes[row] = slot->usage.max_rss_pages * reading->page_bytes;
}

static void take_task(struct columns *columns, u32 row, const struct slot *slot)
{
	set_bit(columns->is_task, row, 1);
	columns->exit_state[row] = slot->status;
	columns->task_flags[row] = slot->flags;
}

static int take(void *context, void *record, size_t bytes)
{
	struct reading *reading = context;
	struct columns *columns = reading->columns;
	const struct slot *slot = record;
	u32 row = columns->rows;

	if (bytes < (u64)slot->span * sizeof(*slot))
		return -1;
	columns->seq[row] = reading->events;
	columns->kind[row] = slot->kind;
	columns->boot_ns[row] = slot->boot_ns;
	columns->time_us[row] = ((long long)slot->boot_ns + reading->realtime_offset_ns) / 1000;
	columns->cpu[row] = slot->cpu;
	columns->tid[row] = slot->tid;
	columns->tgid[row] = slot->tgid;
	columns->start_ns[row] = slot->start_ns;
	columns->parent_tid[row] = slot->parent_tid;
	columns->parent_tgid[row] = slot->parent_tgid;
	columns->parent_start_ns[row] = slot->parent_start_ns;
	columns->uid[row] = slot->uid;
	columns->gid[row] = slot->gid;
	columns->cgroup_id[row] = slot->cgroup_id;
	memcpy(columns->comm[row], slot->comm, COMM_BYTES);

	switch (slot->kind) {
	case KIND_FORK:
		take_fork(columns, row, slot);
		break;
	case KIND_EXEC:
		take_exec(reading, row, slot);
		break;
	case KIND_EXIT:
		take_usage(columns, row, slot);
		take_exit(reading, row, slot);
		break;
	case KIND_TASK:
		take_usage(columns, row, slot);
		take_task(columns, row, slot);
		break;
	}
	columns->filename_ends[row] = columns->filename_bytes;
	columns->argv_ends[row] = columns->arguments;
	columns->rows++;
	reading->events++;
	reading->boot_ns_sum += slot->boot_ns;
	if (columns->rows == ROWS)
		begin_batch(columns);
	return 0;
}

static u64 cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

int main(int count, char **arguments)
{
	struct reading reading = {0};
	struct ring_buffer *ring;
	u64 began;
	int taken;

	if (count != 3)
		return 2;
	reading.page_bytes = strtoull(arguments[2], 0, 10);
	reading.columns = calloc(1, sizeof(*reading.columns));
	if (!reading.columns)
		return 1;
	begin_batch(reading.columns);
	ring = ring_buffer__new(atoi(arguments[1]), take, &reading, 0);
	if (!ring) {
		perror("ring_buffer__new");
		return 1;
	}
	began = cpu_ns();
	taken = ring_buffer__consume(ring);
	began = cpu_ns() - began;
	if (taken < 0) {
		fprintf(stderr, "ring_buffer__consume: %s\n", strerror(-taken));
		return 1;
	}
	printf("{\"events\": %llu, \"cpu_ns\": %llu, \"boot_ns_sum\": %llu, \"text_bytes\": %llu, \"arguments\": %llu}\n",
	       reading.events, began, reading.boot_ns_sum, reading.text_bytes, reading.arguments);
	ring_buffer__free(ring);
	return 0;
}
