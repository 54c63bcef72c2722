/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every program counts, whichever channel its events go through, and whom it leaves out.
 */
#ifndef LINNIX_REC_ACCOUNT_H
#define LINNIX_REC_ACCOUNT_H

#include "kernel.h"

const volatile bool tree_only = false;       /* set before loading, as the next */
const volatile bool lookup_can_fail = false; /* before Linux 6.2: see is_outside() */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 1); /* possible CPUs; set before loading */
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct account);
} accounts SEC(".maps");

/* Who belongs to the recorded tree. Kept with the task itself, so a reused pid inherits nothing. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_TASK_STORAGE);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, u8);
} tree SEC(".maps");

/* Always empty: only asked whether task storage is busy on this CPU. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_TASK_STORAGE);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, u8);
} nobody SEC(".maps");

/* Tracing programs stay on their CPU but an iterator can be preempted by a tracepoint there. */
static ALWAYS_INLINE void add(u64 *counter, u64 n)
{
	__sync_fetch_and_add(counter, n);
}

static ALWAYS_INLINE struct account *this_account(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&accounts, &cpu);
}

static ALWAYS_INLINE bool in_tree(struct task_struct *task)
{
	return bpf_task_storage_get(&tree, task, 0, 0);
}

/*
 * Whether the recording leaves this task out. Before Linux 6.2 a lookup also finds nothing if it interrupts
 * another use of task storage on this CPU, which full preemption allows: a member would escape in silence.
 * A deletion says -EBUSY then, so who is not known to be outside is at least counted.
 */
static ALWAYS_INLINE bool is_outside(struct task_struct *task, struct account *account)
{
	if (!tree_only || in_tree(task))
		return false;
	if (lookup_can_fail && bpf_task_storage_delete(&nobody, task) == -EBUSY)
		add(&account->storage_refused, 1);
	return true;
}

static ALWAYS_INLINE bool join_tree(struct task_struct *task, struct account *account)
{
	if (bpf_task_storage_get(&tree, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return true;
	add(&account->storage_refused, 1);
	return false;
}

#endif
