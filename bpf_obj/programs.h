/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is traced, and when: the same programs for every channel. Included last by the channel's file.
 */
#ifndef LINNIX_REC_PROGRAMS_H
#define LINNIX_REC_PROGRAMS_H

#include "account.h"
#include "channel.h"
#include "event.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile bool with_argv = true; /* set before loading */

static ALWAYS_INLINE void offer(struct event *event, struct place *place, void *ctx, struct account *account,
				u32 kind, u32 span)
{
	event->place = place;
	event->ctx = ctx;
	event->account = account;
	event->kind = kind;
	event->span = span;
	add(&account->claimed[kind], 1);
}

/* Fires at the end of copy_process(), for every kind of new task, io_uring workers included, and before
 * the task first runs. The current task is the one that forks. */
SEC("tp_btf/task_newtask")
int on_newtask(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[0];
	struct task_struct *forker = (void *)bpf_get_current_task_btf();
	struct account *account = this_account();
	struct event event;
	struct place place;

	if (!account)
		return 0;
	add(&account->seen[KIND_FORK], 1);
	/* Number 0 is an idle task, of a CPU that comes up. */
	if (child->pid == 0 || is_outside(forker, account)) {
		add(&account->filtered[KIND_FORK], 1);
		return 0;
	}
	if (tree_only)
		join_tree(child, account);

	offer(&event, &place, ctx, account, KIND_FORK, 1);
	if (!open_event(&event))
		return 0;
	describe_fork(event.head, forker, child, ctx[1]);
	close_event(&event);
	return 0;
}

static ALWAYS_INLINE int exits(u64 *ctx, struct task_struct *task, bool last_thread)
{
	struct account *account = this_account();
	struct event event;
	struct place place;

	if (!account)
		return 0;
	add(&account->seen[KIND_EXIT], 1);
	if (is_outside(task, account)) {
		add(&account->filtered[KIND_EXIT], 1);
		return 0;
	}

	offer(&event, &place, ctx, account, KIND_EXIT, 1);
	if (!open_event(&event))
		return 0;
	describe_exit(event.head, task, last_thread);
	close_event(&event);
	return 0;
}

/* Since Linux 6.16 the kernel says exactly who is the last thread. */
SEC("tp_btf/sched_process_exit")
int on_exit_group_dead(u64 *ctx)
{
	return exits(ctx, (void *)ctx[0], ctx[1] & 1);
}

/* Before, several threads that exit at once can all find no other alive: the last of them counts. */
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	return exits(ctx, task, task->signal->live.counter == 0);
}

/* Write the span's slots behind the first, and hand it over; if one has no room, all of it is lost. */
static ALWAYS_INLINE void close_text(struct event *event, const struct exec_text *text)
{
	struct slot *slot;
	u32 i;

	for (i = 1; i < SPAN_MAX; i++) {
		/* Keeps clang from turning the test into one that older verifiers can't follow. */
		asm volatile("" : "+r"(i));
		if (i >= opaque(text->span, text->arguments))
			break;
		slot = further_slot(event, i);
		if (!slot)
			return;
		write_text(slot, i, text, event->head);
		further_slot_written(event, slot, i);
	}
	close_span(event);
}

/* Fires when the new program is in place and before its first instruction. */
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct account *account = this_account();
	struct exec_text text;
	struct event event;
	struct place place;

	if (!account)
		return 0;
	add(&account->seen[KIND_EXEC], 1);
	if (is_outside(task, account)) {
		add(&account->filtered[KIND_EXEC], 1);
		return 0;
	}

	measure_text(&text, task, (void *)ctx[2], with_argv);
	offer(&event, &place, ctx, account, KIND_EXEC, text.span);
	if (!open_span(&event))
		return 0;
	describe_exec(event.head, task, ctx[1], &text);
	close_text(&event, &text);
	return 0;
}

/*
 * One event for each task that runs, through the same channel: the listing stands in the same order as all
 * else. Here the current task is the recorder.
 *
 * The flags are read after the ticket was claimed, and the kernel sets PF_EXITING before it traces the exit:
 * who is listed and not exiting has its exit event, if any, after this one.
 */
SEC("iter/task")
int list_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct account *account = this_account();
	struct event event;
	struct place place;

	if (!account)
		return 0;
	if (!task) {
		add(&account->listings, 1);
		return 0;
	}
	add(&account->seen[KIND_TASK], 1);
	if (is_outside(task, account)) {
		add(&account->filtered[KIND_TASK], 1);
		return 0;
	}

	offer(&event, &place, ctx, account, KIND_TASK, 1);
	if (!open_event(&event))
		return 0;
	describe_task(event.head, task);
	close_event(&event);
	return 0;
}

/* Makes the threads and children of the tree's tasks its members. Run until it adopts nobody: a task
 * can be visited before its parent is, but what a member forks is a member from birth. */
SEC("iter/task")
int adopt_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct account *account = this_account();

	if (!account || !task || in_tree(task))
		return 0;
	if ((in_tree(task->group_leader) || in_tree(task->real_parent)) && join_tree(task, account))
		add(&account->adopted, 1);
	return 0;
}

/* Counts the tree's tasks that still run, the recorder's own left out. The kernel sets exit_state after
 * it has traced the exit, so whoever is not counted any more has had its exit event. */
SEC("iter/task")
int count_live(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct *recorder = (void *)bpf_get_current_task_btf();
	struct account *account = this_account();

	if (account && task && task->tgid != recorder->tgid && !task->exit_state && in_tree(task))
		add(&account->live, 1);
	return 0;
}

#endif
