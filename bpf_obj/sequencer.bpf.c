// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Gives every fork, exec and exit one number from one atomic counter, and writes it into the slot of
 * that number. slot.h states the layout and the protocol.
 *
 * Why this order is causal: a task's birth is traced before it first runs, and its exit before its
 * parent can reap it, so whatever one event could have caused takes its ticket later. The fetch-and-add
 * is one total order of all CPUs; clocks are not, which is why boot_ns is data and the ticket the order.
 */
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u64 ring_mask = 1023; /* slots - 1; set before loading */
const volatile bool tree_only = false;
const volatile bool with_argv = true;
const volatile bool lookup_can_fail = false; /* before Linux 6.2: see is_outside() */

u64 next_ticket PAGE_APART;  /* what all CPUs contend for: nothing else in its lines */
u64 abandon_next PAGE_APART; /* entries ever written to the log */
u64 abandon_log[ABANDON_LOG_ENTRIES] PAGE_APART;

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slot);
} ring SEC(".maps");

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

/* The fetch-and-add is fully ordered: whatever happened on this CPU before it, such as another task's
 * event that this one depends on, has the lower ticket. */
static ALWAYS_INLINE u64 claim(struct account *account, u32 kind, u32 span)
{
	add(&account->claimed[kind], 1);
	return __sync_fetch_and_add(&next_ticket, span);
}

/*
 * Become the one owner of the ticket's slot, or return NULL. Each test is needed:
 *   odd            another producer, a lap behind or ahead, is writing there now;
 *   later ticket   this producer slept for a lap; what stands there is newer, and live;
 *   compare-and-swap   either may have become true since the stamp was read.
 * A successful compare-and-swap is fully ordered: no byte of the payload is written before it.
 */
static ALWAYS_INLINE struct slot *take(u64 ticket)
{
	u32 place = ticket & ring_mask;
	struct slot *slot = bpf_map_lookup_elem(&ring, &place);
	u64 stamp;

	if (!slot)
		return 0;
	stamp = *(volatile u64 *)&slot->stamp;
	if (stamp & 1 || stamp > 2 * ticket)
		return 0;
	if (__sync_val_compare_and_swap(&slot->stamp, stamp, 2 * ticket + 1) != stamp)
		return 0;
	return slot;
}

/* The exchange is fully ordered: whoever sees the stamp sees the payload. Measured, it costs no more
 * than a plain store, which would be right on x86 alone. */
static ALWAYS_INLINE void publish(struct slot *slot, u64 ticket)
{
	__sync_lock_test_and_set(&slot->stamp, 2 * ticket + 2);
}

/* A slot that was taken, of a span that is given up, must not stay odd: it would be lost to every lap to
 * come. This stamp is even, below what a reader of this ticket waits for, and above the last lap's. Who
 * reads it knows how many tickets to give up: `span` was written before. */
static ALWAYS_INLINE void release(struct slot *slot, u64 ticket)
{
	__sync_lock_test_and_set(&slot->stamp, 2 * ticket);
}

/* The whole span is given up, even if some of its slots are written: half an event is none. */
static ALWAYS_INLINE void abandon(struct account *account, u32 kind, u64 ticket, u32 span)
{
	u64 entry = __sync_fetch_and_add(&abandon_next, 1) % ABANDON_LOG_ENTRIES;

	__sync_lock_test_and_set(&abandon_log[entry], ticket << ABANDON_SPAN_BITS | span);
	add(&account->abandoned[kind], 1);
	add(&account->abandoned_tickets, span);
}

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

/* Fires at the end of copy_process(), for every kind of new task, io_uring workers included, and before
 * the task first runs. The current task is the one that forks. */
SEC("tp_btf/task_newtask")
int on_newtask(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[0];
	struct task_struct *forker = (void *)bpf_get_current_task_btf();
	struct account *account = this_account();
	struct slot *slot;
	u64 ticket;

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

	ticket = claim(account, KIND_FORK, 1);
	slot = take(ticket);
	if (!slot) {
		abandon(account, KIND_FORK, ticket, 1);
		return 0;
	}
	describe(slot, forker, KIND_FORK, 1, 0);
	slot->fork.child_start_ns = child->start_boottime;
	slot->fork.clone_flags = ctx[1];
	slot->fork.child_tid = child->pid;
	slot->fork.child_tgid = child->tgid;
	publish(slot, ticket);
	add(&account->published_tickets, 1);
	return 0;
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

static ALWAYS_INLINE int exits(struct task_struct *task, bool last_thread)
{
	struct account *account = this_account();
	struct slot *slot;
	u64 ticket;

	if (!account)
		return 0;
	add(&account->seen[KIND_EXIT], 1);
	if (is_outside(task, account)) {
		add(&account->filtered[KIND_EXIT], 1);
		return 0;
	}

	ticket = claim(account, KIND_EXIT, 1);
	slot = take(ticket);
	if (!slot) {
		abandon(account, KIND_EXIT, ticket, 1);
		return 0;
	}
	describe(slot, task, KIND_EXIT, 1, last_thread ? EXIT_LAST_THREAD : 0);
	slot->status = wait_status(task, last_thread);
	measure(&slot->usage, task);
	publish(slot, ticket);
	add(&account->published_tickets, 1);
	return 0;
}

/* Since Linux 6.16 the kernel says exactly who is the last thread. */
SEC("tp_btf/sched_process_exit")
int on_exit_group_dead(u64 *ctx)
{
	return exits((void *)ctx[0], ctx[1] & 1);
}

/* Before, several threads that exit at once can all find no other alive: the last of them counts. */
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	return exits(task, task->signal->live.counter == 0);
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

/* Fires when the new program is in place and before its first instruction. */
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[2];
	struct account *account = this_account();
	const char *filename = bprm->filename;
	u64 arguments = task->mm->arg_start;
	u64 argv_bytes = with_argv ? task->mm->arg_end - arguments : 0;
	u32 filename_slots, span, i;
	u64 filename_bytes, bytes;
	struct slot *head, *slot;
	u8 flags = 0;
	u64 ticket;

	if (!account)
		return 0;
	add(&account->seen[KIND_EXEC], 1);
	if (is_outside(task, account)) {
		add(&account->filtered[KIND_EXEC], 1);
		return 0;
	}

	filename_bytes = opaque(filename_length(filename), arguments);
	if (filename_bytes > FILENAME_MAX) {
		filename_bytes = FILENAME_MAX;
		flags = EXEC_TEXT_CUT;
	}
	filename_slots = 1;
	if (filename_bytes > HEAD_TEXT_BYTES)
		filename_slots += text_slots(filename_bytes - HEAD_TEXT_BYTES);
	if (argv_bytes > (SPAN_MAX - filename_slots) * SLOT_TEXT_BYTES) {
		argv_bytes = (SPAN_MAX - filename_slots) * SLOT_TEXT_BYTES;
		flags = EXEC_TEXT_CUT;
	}
	span = filename_slots + text_slots(argv_bytes);

	ticket = claim(account, KIND_EXEC, span);
	head = take(ticket);
	if (!head)
		goto abandoned;

	describe(head, task, KIND_EXEC, span, flags);
	head->exec.old_tid = ctx[1];
	head->exec.filename_bytes = filename_bytes;
	head->exec.argv_bytes = argv_bytes;
	bytes = filename_bytes > HEAD_TEXT_BYTES ? HEAD_TEXT_BYTES : filename_bytes;
	bpf_probe_read_kernel(head->exec.text, bytes, filename);

	/* The first slot is published last, as here it may still change. */
	for (i = 1; i < SPAN_MAX; i++) {
		/* Keeps clang from turning the test into one that older verifiers can't follow. */
		asm volatile("" : "+r"(i));
		if (i >= opaque(span, arguments))
			break;
		slot = take(ticket + i);
		if (!slot) {
			release(head, ticket);
			goto abandoned;
		}
		slot->kind = KIND_EXEC;
		slot->span = span;
		slot->index = i;
		if (i < opaque(filename_slots, arguments)) {
			u32 begin = HEAD_TEXT_BYTES + (i - 1) * SLOT_TEXT_BYTES;

			bytes = opaque(filename_bytes - begin, arguments);
			if (bytes > SLOT_TEXT_BYTES)
				bytes = SLOT_TEXT_BYTES;
			bpf_probe_read_kernel(slot->text, bytes, filename + begin);
		} else {
			u32 begin = (i - filename_slots) * SLOT_TEXT_BYTES;

			bytes = opaque(argv_bytes - begin, arguments);
			if (bytes > SLOT_TEXT_BYTES)
				bytes = SLOT_TEXT_BYTES;
			/* Never faults a page in; the kernel has just written these. */
			if (bpf_probe_read_user(slot->text, bytes, (void *)(arguments + begin))) {
				head->flags = EXEC_TEXT_CUT;
				if (head->exec.argv_bytes > begin)
					head->exec.argv_bytes = begin;
			}
		}
		publish(slot, ticket + i);
	}

	publish(head, ticket);
	add(&account->published_tickets, span);
	return 0;

abandoned:
	abandon(account, KIND_EXEC, ticket, span);
	return 0;
}

/*
 * One event for each task that runs, through the same counter: the listing stands in the same order as all
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
	struct slot *slot;
	u64 ticket;
	u8 flags;

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

	ticket = claim(account, KIND_TASK, 1);
	slot = take(ticket);
	if (!slot) {
		abandon(account, KIND_TASK, ticket, 1);
		return 0;
	}
	flags = task->flags & PF_EXITING ? TASK_EXITING : 0;
	if (task->flags & PF_KTHREAD)
		flags |= TASK_KERNEL_THREAD;
	describe(slot, task, KIND_TASK, 1, flags);
	slot->status = task->exit_state;
	measure(&slot->usage, task);
	publish(slot, ticket);
	add(&account->published_tickets, 1);
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
