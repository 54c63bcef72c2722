/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Syscalls as they return, and execs that fail. In the same order as all else, and the only events that can
 * come faster than they are read: so they give way.
 *
 * A syscall is one event, when it returns; what it was called with is kept with the task meanwhile. None
 * comes of those that never return: exit, exit_group, and what a task was in when it was killed. Counted,
 * and no event, is a return whose beginning was not seen (`unbegun`): of a syscall that began before the
 * recording, that seccomp or a tracer kept from beginning, of which there was no memory to keep anything,
 * and the first return of each new task, from the fork that it did not call.
 *
 * Giving way: the reader writes into `reader` how far it has read. A producer here that finds more than half
 * a ring unread takes no ticket, and counts its event as shed: that half stays for forks, execs and exits.
 * Nothing orders the reader's store, and nothing need: the value only grows, so one that is seen late makes
 * the reader seem further behind, and sheds too early, never too late. Between this look and the ticket
 * other CPUs can take one each: the half is exceeded by as many events as there are CPUs.
 */
#ifndef LINNIX_REC_SYSCALLS_H
#define LINNIX_REC_SYSCALLS_H

#include "programs.h"

#define NUMBERS 512 /* of a syscall table, at most */

/* Set before loading. */
const volatile bool with_syscalls = true;
const volatile bool with_failed_execs = true;
const volatile bool all_syscalls = true;               /* else those of `wanted_syscalls`, a bit a number */
const volatile u64 wanted_syscalls[NUMBERS / 64] = {}; /* of the native table */
const volatile u32 execve_number = 59;                 /* these five are x86-64's */
const volatile u32 execveat_number = 322;
const volatile u32 compat_execve_number = 11;
const volatile u32 compat_execveat_number = 358;
const volatile u32 sigreturn_number = 15;

struct reader {
	u64 read_ticket; /* the first that it has not read yet; the reader's to write */
	s32 tgid;        /* whose syscalls are not recorded, or each event would make others */
	u32 unused[29];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct reader);
} reader SEC(".maps");

struct begun_syscall {
	u64 begun_ns; /* 0 if it has returned */
	u64 arguments[3];
	u32 number;
	u32 flags;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_TASK_STORAGE);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct begun_syscall);
} begun_syscalls SEC(".maps");

/* A path is read once, from memory that its process may be changing, and measured here. No program that
 * uses this can interrupt another one on the same CPU. */
struct path {
	char text[FILENAME_MAX + 2]; /* one more than there is room for, to know that it was cut, and the NUL */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct path);
} paths SEC(".maps");

/* A 32-bit process, or a 64-bit one that asks as if it were one. */
static ALWAYS_INLINE bool is_compat(struct task_struct *task, u32 number)
{
	struct task_struct___x86 *x86 = (void *)task;
	struct task_struct___arm64 *arm64 = (void *)task;

	if (HAS_FIELD(x86->thread_info.status))
		return x86->thread_info.status & TS_COMPAT || (number != (u32)-1 && number & X32_SYSCALL_BIT);
	return arm64->thread_info.flags & TIF_32BIT;
}

/* As it stands at the return; -1 after rt_sigreturn, which has put back the registers of before the signal. */
static ALWAYS_INLINE u32 number_at_return(void *regs)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (HAS_FIELD(x86->orig_ax))
		return x86->orig_ax;
	return arm64->syscallno;
}

static ALWAYS_INLINE void read_arguments(u64 *arguments, void *regs, bool compat)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (!HAS_FIELD(x86->orig_ax)) {
		arguments[0] = arm64->orig_x0;
		arguments[1] = arm64->regs[1];
		arguments[2] = arm64->regs[2];
	} else {
		arguments[0] = compat ? x86->bx : x86->di;
		arguments[1] = compat ? x86->cx : x86->si;
		arguments[2] = x86->dx;
	}
}

/* Names are of the native table: who asks for some gets none of another table. */
static ALWAYS_INLINE bool is_wanted(u32 number, bool compat)
{
	u32 word = number / 64;

	if (all_syscalls)
		return true;
	/* Keeps clang from leaving out the bound that it knows of, and the verifier does not. */
	asm volatile("" : "+r"(word));
	return !compat && number < NUMBERS && wanted_syscalls[word % (NUMBERS / 64)] >> number % 64 & 1;
}

static ALWAYS_INLINE struct reader *the_reader(void)
{
	u32 first = 0;

	return bpf_map_lookup_elem(&reader, &first);
}

static ALWAYS_INLINE bool is_left_out(struct task_struct *task, struct account *account,
				      const struct reader *reader)
{
	return task->tgid == reader->tgid || is_outside(task, account);
}

/* Signed, as a reader can be ahead of what was read here of the tickets. */
static ALWAYS_INLINE bool is_half_full(const struct reader *reader)
{
	u64 read_ticket = *(volatile u64 *)&reader->read_ticket;
	u64 issued = *(volatile u64 *)&next_ticket;

	return (s64)(issued - read_ticket) > (s64)((ring_mask + 1) / 2);
}

/* Whether an event that was seen is to have a ticket; else it is counted. */
static ALWAYS_INLINE bool is_to_be_kept(u32 kind, struct task_struct *task, struct account *account,
					const struct reader *reader)
{
	add(&account->seen[kind], 1);
	if (is_left_out(task, account, reader)) {
		add(&account->filtered[kind], 1);
		return false;
	}
	if (is_half_full(reader)) {
		add(&account->shed[kind], 1);
		return false;
	}
	return true;
}

/* Fires before a syscall, and after seccomp and ptrace have let it pass. */
SEC("tp_btf/sys_enter")
int on_sys_enter(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	bool compat = is_compat(task, ctx[1]);
	struct account *account = this_account();
	struct reader *reader = the_reader();
	struct begun_syscall *begun;

	if (!account || !reader || !is_wanted(ctx[1], compat) || is_left_out(task, account, reader))
		return 0;
	begun = bpf_task_storage_get(&begun_syscalls, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!begun)
		return 0;
	read_arguments(begun->arguments, (void *)ctx[0], compat);
	begun->number = ctx[1];
	begun->flags = compat ? SYSCALL_COMPAT : 0;
	begun->begun_ns = bpf_ktime_get_boot_ns();
	return 0;
}

static ALWAYS_INLINE void describe_syscall(struct slot *slot, struct task_struct *task,
					   const struct begun_syscall *begun, s64 result)
{
	u32 number = begun->number;

	describe(slot, task, KIND_SYSCALL, 1, begun->flags);
	if (begun->flags)
		number &= ~X32_SYSCALL_BIT;
	slot->status = number < NO_SYSCALL ? number : NO_SYSCALL;
	slot->syscall.arguments[0] = begun->arguments[0];
	slot->syscall.arguments[1] = begun->arguments[1];
	slot->syscall.arguments[2] = begun->arguments[2];
	slot->syscall.result = result;
	slot->syscall.duration_ns = slot->boot_ns - begun->begun_ns;
}

static ALWAYS_INLINE void returns(u64 *ctx, struct task_struct *task, struct account *account,
				  const struct reader *reader, u32 number, bool compat)
{
	struct begun_syscall *begun;
	struct event event;
	struct place place;

	/* An exec can have changed the table: what is compat now may have begun as another. */
	if (!compat && !is_wanted(number == (u32)-1 ? sigreturn_number : number, false)) {
		add(&account->unwanted, 1);
		return;
	}
	if (is_left_out(task, account, reader)) {
		add(&account->seen[KIND_SYSCALL], 1);
		add(&account->filtered[KIND_SYSCALL], 1);
		return;
	}
	begun = bpf_task_storage_get(&begun_syscalls, task, 0, 0);
	if (!begun || !begun->begun_ns) {
		add(compat && !all_syscalls ? &account->unwanted : &account->unbegun, 1);
		return;
	}
	add(&account->seen[KIND_SYSCALL], 1);
	if (is_half_full(reader)) {
		add(&account->shed[KIND_SYSCALL], 1);
	} else {
		offer(&event, &place, ctx, account, KIND_SYSCALL, 1);
		if (open_event(&event)) {
			describe_syscall(event.head, task, begun, ctx[1]);
			close_event(&event);
		}
	}
	begun->begun_ns = 0;
}

static ALWAYS_INLINE bool is_exec(u32 number, bool compat)
{
	if (compat)
		return number == compat_execve_number || number == compat_execveat_number;
	return number == execve_number || number == execveat_number;
}

/* Where the path stands: execve's first argument, execveat's second. */
static ALWAYS_INLINE u64 path_of(void *regs, u32 number, bool compat)
{
	u64 arguments[3];

	read_arguments(arguments, regs, compat);
	return arguments[number == (compat ? compat_execve_number : execve_number) ? 0 : 1];
}

/*
 * The path is read now, not when the exec began: its page may not have been in memory then, and no program
 * can wait for one; the kernel has read it meanwhile. The price is that another thread may have changed it.
 * One that can't be read leaves no name, and is marked as cut.
 */
static ALWAYS_INLINE void measure_path(struct exec_text *text, struct path *path, u64 address)
{
	long bytes = bpf_probe_read_user_str(path->text, sizeof(path->text), (void *)address);

	text->kind = KIND_FAILED_EXEC;
	text->filename = path->text;
	text->arguments = address;
	text->argv_bytes = 0;
	text->flags = bytes < 0 ? EXEC_TEXT_CUT : 0;
	text->filename_bytes = opaque(bytes <= 0 ? 0 : bytes - 1, address);
	fit_text(text);
}

static ALWAYS_INLINE void fails_exec(u64 *ctx, struct task_struct *task, struct account *account,
				     const struct reader *reader, u32 number, bool compat)
{
	u32 first = 0;
	struct path *path = bpf_map_lookup_elem(&paths, &first);
	struct exec_text text;
	struct event event;
	struct place place;

	if (!path || !is_to_be_kept(KIND_FAILED_EXEC, task, account, reader))
		return;
	measure_path(&text, path, path_of((void *)ctx[0], number, compat));
	offer(&event, &place, ctx, account, KIND_FAILED_EXEC, text.span);
	if (!open_span(&event))
		return;
	describe_exec(event.head, task, 0, &text);
	event.head->status = -(s64)ctx[1];
	close_text(&event, &text);
}

/* Fires when a syscall has its result, before a signal is delivered or the task is back in its program. */
SEC("tp_btf/sys_exit")
int on_sys_exit(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	u32 number = number_at_return((void *)ctx[0]);
	bool compat = is_compat(task, number);
	struct account *account = this_account();
	struct reader *reader = the_reader();

	if (!account || !reader)
		return 0;
	if (with_failed_execs && (s64)ctx[1] < 0 && is_exec(number, compat))
		fails_exec(ctx, task, account, reader, number, compat);
	if (with_syscalls)
		returns(ctx, task, account, reader, number, compat);
	return 0;
}

/* Notes whose syscalls are not recorded: of the process that runs this. Its number elsewhere, in a pid
 * namespace, is not the one that is compared here. */
SEC("iter/task")
int note_reader(struct bpf_iter__task *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct reader *reader = the_reader();

	if (reader)
		reader->tgid = task->tgid;
	return 0;
}

#endif
