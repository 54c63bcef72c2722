/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What stands in an event's slots. The same for every channel: they differ in how a slot comes to the reader.
 */
#ifndef LINNIX_REC_EVENT_H
#define LINNIX_REC_EVENT_H

#include "kernel.h"

/* What every event says of the task that it is about, which need not be the current one. */
static ALWAYS_INLINE void describe(struct slot *slot, struct task_struct *task, u8 kind, u8 span, u8 flags)
{
	struct task_struct *parent = task->real_parent;
	const struct cred *cred = task->cred;

	slot->kind = kind;
	slot->span = span;
	slot->index = 0;
	slot->flags = flags;
	slot->cpu = bpf_get_smp_processor_id();
	slot->status = 0;
	slot->boot_ns = bpf_ktime_get_boot_ns();
	slot->start_ns = task->start_boottime;
	slot->parent_start_ns = parent->start_boottime;
	slot->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	slot->tid = task->pid;
	slot->tgid = task->tgid;
	slot->parent_tid = parent->pid;
	slot->parent_tgid = parent->tgid;
	slot->uid = cred->uid.val;
	slot->gid = cred->gid.val;
	bpf_probe_read_kernel(slot->comm, COMM_BYTES, task->comm);
}

static ALWAYS_INLINE u32 saturated(u64 n)
{
	return n > 0xffffffff ? 0xffffffff : n;
}

static ALWAYS_INLINE void measure(struct usage *usage, struct task_struct *task)
{
	usage->cpu_ns = task->se.sum_exec_runtime;
	usage->utime_ns = task->utime;
	usage->stime_ns = task->stime;
	usage->min_faults = task->min_flt;
	usage->maj_faults = saturated(task->maj_flt);
	usage->max_rss_pages = saturated(task->signal->maxrss);
}

/* The last thread's row carries what wait(2) will say of the process; any other, the thread's own. */
static ALWAYS_INLINE u16 wait_status(struct task_struct *task, bool last_thread)
{
	struct signal_struct *signal = task->signal;

	if (!last_thread)
		return task->exit_code;
	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return task->group_leader->exit_code;
}

static ALWAYS_INLINE void describe_fork(struct slot *slot, struct task_struct *forker,
					struct task_struct *child, u64 clone_flags)
{
	describe(slot, forker, KIND_FORK, 1, 0);
	slot->fork.child_start_ns = child->start_boottime;
	slot->fork.clone_flags = clone_flags;
	slot->fork.child_tid = child->pid;
	slot->fork.child_tgid = child->tgid;
}

static ALWAYS_INLINE void describe_exit(struct slot *slot, struct task_struct *task, bool last_thread)
{
	describe(slot, task, KIND_EXIT, 1, last_thread ? EXIT_LAST_THREAD : 0);
	slot->status = wait_status(task, last_thread);
	measure(&slot->usage, task);
}

/* The flags last: who is not exiting by them has its exit, if any, after this event's time, too. */
static ALWAYS_INLINE void describe_task(struct slot *slot, struct task_struct *task)
{
	u32 flags;

	describe(slot, task, KIND_TASK, 1, 0);
	flags = task->flags;
	slot->flags = (flags & PF_EXITING ? TASK_EXITING : 0) | (flags & PF_KTHREAD ? TASK_KERNEL_THREAD : 0);
	slot->status = task->exit_state;
	measure(&slot->usage, task);
}

#define FILENAME_SLOTS_MAX 8
#define FILENAME_MAX (HEAD_TEXT_BYTES + FILENAME_SLOTS_MAX * SLOT_TEXT_BYTES)

static ALWAYS_INLINE u32 text_slots(u64 bytes)
{
	return (bytes + SLOT_TEXT_BYTES - 1) / SLOT_TEXT_BYTES;
}

/* Length without the NUL, at most FILENAME_MAX + 1, through a piece of stack as there is no strlen. */
static ALWAYS_INLINE u32 filename_length(const char *filename)
{
	char piece[128];
	u32 length = 0;
	int i;

	for (i = 0; i < FILENAME_MAX / 127 + 1; i++) {
		long bytes = bpf_probe_read_kernel_str(piece, sizeof(piece), filename + length);

		if (bytes <= 0)
			break;
		length += bytes - 1;
		if (bytes < (long)sizeof(piece))
			break;
	}
	return length;
}

/*
 * The same number, of which the verifier knows nothing: `salt` is any value it can't know. Each test of a
 * number splits what the verifier has to follow, and tests inside a loop multiply. With it on_exec takes
 * 11,000 verified instructions on Linux 6.18, without it 458,000. The empty asm keeps clang from seeing
 * through. 64 bits, as 6.1 does not carry what a 32-bit test has shown over to the whole register.
 */
static ALWAYS_INLINE u64 opaque(u64 number, u64 salt)
{
	number ^= salt;
	asm volatile("" : "+r"(number));
	return number ^ salt;
}

/* An exec's text: where it lies, and how much of it the span has room for. */
struct exec_text {
	const char *filename;
	u64 arguments; /* in the new program's memory */
	u64 filename_bytes;
	u64 argv_bytes;
	u32 filename_slots;
	u32 span;
	u8 kind;
	u8 flags;
};

/* Divide the span among the two: what has no room is cut. */
static ALWAYS_INLINE void fit_text(struct exec_text *text)
{
	if (text->filename_bytes > FILENAME_MAX) {
		text->filename_bytes = FILENAME_MAX;
		text->flags = EXEC_TEXT_CUT;
	}
	text->filename_slots = 1;
	if (text->filename_bytes > HEAD_TEXT_BYTES)
		text->filename_slots += text_slots(text->filename_bytes - HEAD_TEXT_BYTES);
	if (text->argv_bytes > (SPAN_MAX - text->filename_slots) * SLOT_TEXT_BYTES) {
		text->argv_bytes = (SPAN_MAX - text->filename_slots) * SLOT_TEXT_BYTES;
		text->flags = EXEC_TEXT_CUT;
	}
	text->span = text->filename_slots + text_slots(text->argv_bytes);
}

static ALWAYS_INLINE void measure_text(struct exec_text *text, struct task_struct *task,
				       struct linux_binprm *bprm, bool with_argv)
{
	text->kind = KIND_EXEC;
	text->filename = bprm->filename;
	text->arguments = task->mm->arg_start;
	text->argv_bytes = with_argv ? task->mm->arg_end - text->arguments : 0;
	text->flags = 0;
	text->filename_bytes = opaque(filename_length(text->filename), text->arguments);
	fit_text(text);
}

static ALWAYS_INLINE void describe_exec(struct slot *head, struct task_struct *task, int old_tid,
					const struct exec_text *text)
{
	u64 bytes = text->filename_bytes > HEAD_TEXT_BYTES ? HEAD_TEXT_BYTES : text->filename_bytes;

	describe(head, task, text->kind, text->span, text->flags);
	head->exec.old_tid = old_tid;
	head->exec.filename_bytes = text->filename_bytes;
	head->exec.argv_bytes = text->argv_bytes;
	bpf_probe_read_kernel(head->exec.text, bytes, text->filename);
}

/* Write slot `i` of the span, from 1 on. What can't be read of the arguments is noted in the first slot. */
static ALWAYS_INLINE void write_text(struct slot *slot, u32 i, const struct exec_text *text, struct slot *head)
{
	u64 bytes;
	u32 begin;

	slot->kind = text->kind;
	slot->span = text->span;
	slot->index = i;
	if (i < opaque(text->filename_slots, text->arguments)) {
		begin = HEAD_TEXT_BYTES + (i - 1) * SLOT_TEXT_BYTES;
		bytes = opaque(text->filename_bytes - begin, text->arguments);
		if (bytes > SLOT_TEXT_BYTES)
			bytes = SLOT_TEXT_BYTES;
		bpf_probe_read_kernel(slot->text, bytes, text->filename + begin);
		return;
	}
	begin = (i - text->filename_slots) * SLOT_TEXT_BYTES;
	bytes = opaque(text->argv_bytes - begin, text->arguments);
	if (bytes > SLOT_TEXT_BYTES)
		bytes = SLOT_TEXT_BYTES;
	/* Never faults a page in; the kernel has just written these. */
	if (bpf_probe_read_user(slot->text, bytes, (void *)(text->arguments + begin))) {
		head->flags = EXEC_TEXT_CUT;
		if (head->exec.argv_bytes > begin)
			head->exec.argv_bytes = begin;
	}
}

#endif
