// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Uses each feature of object files that the loader claims to read. Rebuild it with
 *   clang -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Ibpf_obj -fdebug-compilation-dir=. \
 *         -c tests/bpf/objects/features.bpf.c -o tests/bpf/objects/features.bpf.o
 *   llvm-strip -g tests/bpf/objects/features.bpf.o
 */
#include "kernel.h"

#define NOINLINE __attribute__((noinline))

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u32 factor = 3;
const volatile u64 limit = 0;
u64 initial = 41;
u64 runs;
u64 tasks;
static volatile u64 hidden;

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 4);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 12);
} numbers SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_TASK_STORAGE);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, u64);
} marks SEC(".maps");

static long (*const bpf_loop)(u32 times, void *function, void *context, u64 flags) = (void *)181;
static long (*const bpf_seq_write)(void *seq, const void *bytes, u32 count) = (void *)127;

#define ABOUT __attribute__((preserve_access_index))

struct task_struct___other {
	int tgid;
	int no_such_field;
} ABOUT;

static NOINLINE u64 twice(u64 number)
{
	hidden += number; /* keeps it from being folded away */
	return number + number;
}

static NOINLINE u64 scaled(u64 number)
{
	return twice(number) * factor;
}

SEC("tp_btf/sched_process_exec")
int on_exec(u64 *context)
{
	struct task_struct *task = (void *)context[0];

	__sync_fetch_and_add(&runs, 1);
	initial = scaled(task->tgid);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(u64 *context)
{
	__sync_fetch_and_add(&runs, 1);
	return 0;
}

static int count_one(u32 index, void *context)
{
	runs++;
	return 0;
}

/* The address of a function (Linux 5.17). */
SEC("tp_btf/sched_process_exec")
int looping(u64 *context)
{
	bpf_loop(10, count_one, 0, 0);
	return 0;
}

/* A missing field in a branch that is never taken. */
SEC("tp_btf/task_newtask")
int guarded(u64 *context)
{
	struct task_struct___other *task = (void *)context[0];

	if (__builtin_preserve_field_info(task->no_such_field, 2))
		runs += task->no_such_field;
	return task->tgid > 0;
}

SEC("tp_btf/task_newtask")
int poisoned(u64 *context)
{
	struct task_struct___other *task = (void *)context[0];

	return task->no_such_field;
}

SEC("iter/task")
int each_task(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	u32 tid;

	if (!task)
		return 0;
	__sync_fetch_and_add(&tasks, 1);
	tid = task->pid;
	bpf_seq_write(*(void **)context->meta, &tid, sizeof(tid));
	return 0;
}
