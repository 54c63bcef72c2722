/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The layout of what kernel and recorder share. This is the only place where it is written down: the
 * recorder derives its view from the BTF of these types inside the shipped object.
 *
 * The ring is an mmap-able array of N slots, N a power of two. A producer claims k consecutive tickets
 * with one fetch-and-add of k on `next_ticket`; ticket t lives in slot t mod N. Such a run of k slots is
 * the span of one event.
 *
 *   stamp    0      never written
 *            2t     ticket t was being written, and is given up with the rest of its span
 *            2t+1   ticket t is being written
 *            2t+2   ticket t is ready
 *
 * In a record of the ring buffer the stamp is how many events that CPU had lost before; in perf's it is 0.
 *
 * No producer ever waits. A slot has at most one owner at a time, because taking it is a
 * compare-and-swap from an even stamp: a producer that finds another owner, or the mark of a later
 * ticket, abandons its event. So a slot never holds a mix of two events, even if a producer was
 * preempted for a whole lap of the ring.
 */
#ifndef LINNIX_REC_SLOT_H
#define LINNIX_REC_SLOT_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

#define SPAN_MAX 16 /* slots of one event, at most */
#define COMM_BYTES 16
#define HEAD_TEXT_BYTES 32  /* of an exec's text, in its first slot */
#define SLOT_TEXT_BYTES 112 /* in each further slot of the span */

enum event_kind {
	KIND_FORK = 1, /* 0 stays free: on the page it is a gap */
	KIND_EXEC = 2,
	KIND_EXIT = 3,
	KIND_TASK = 4, /* existed before the recording */
	KIND_SYSCALL = 5,     /* that has returned */
	KIND_FAILED_EXEC = 6, /* laid out as an exec without arguments */
	KIND_COUNT = 7,
};

enum event_flag {
	EXIT_LAST_THREAD = 1 << 0,
	EXEC_TEXT_CUT = 1 << 1, /* filename or arguments were longer than the span, or unreadable */
	TASK_EXITING = 1 << 2,
	TASK_KERNEL_THREAD = 1 << 3,
	SYSCALL_COMPAT = 1 << 4, /* its number is of the 32-bit table, or of x32's */
};

struct fork_event {
	u64 child_start_ns;
	u64 clone_flags;
	s32 child_tid;
	s32 child_tgid;
};

/* The filename begins in `text` and goes on in as many further slots as it needs; the arguments, as they
 * stand in the new program's memory, begin in the next slot. Each begins at a slot's start, so that both
 * are copied straight from where they lie to where they stay. */
struct exec_event {
	s32 old_tid;
	u16 filename_bytes; /* without its NUL */
	u16 argv_bytes;     /* with the NUL of each argument */
	u8 text[HEAD_TEXT_BYTES];
};

/* What a task has used: until its exit, or until it was listed. */
struct usage {
	u64 cpu_ns;
	u64 utime_ns;
	u64 stime_ns;
	u64 min_faults;
	u32 maj_faults;    /* saturates */
	u32 max_rss_pages; /* of the process; saturates */
};

/* Its number is in the slot's `status`: NO_SYSCALL if no table can have it. */
struct syscall_event {
	u64 arguments[3];
	s64 result;
	u64 duration_ns;
};

#define NO_SYSCALL 0xffff

/* Two cache lines; what every event carries comes first. */
struct slot {
	u64 stamp;
	u8 kind;
	u8 span;  /* slots of this event */
	u8 index; /* of this slot in the span */
	u8 flags;
	u16 cpu;
	u16 status; /* exit: as wait(2) encodes it; task: the kernel's exit_state; syscall: its number;
		       failed exec: errno */
	union {
		struct {
			u64 boot_ns;
			u64 start_ns;
			u64 parent_start_ns;
			u64 cgroup_id;
			s32 tid;
			s32 tgid;
			s32 parent_tid;
			s32 parent_tgid;
			u32 uid;
			u32 gid;
			u8 comm[COMM_BYTES];
			union {
				struct fork_event fork;
				struct exec_event exec;
				struct usage usage; /* exit, task */
				struct syscall_event syscall;
			};
		};
		u8 text[SLOT_TEXT_BYTES]; /* of a slot whose index is not 0 */
	};
};

_Static_assert(sizeof(struct slot) == 128, "a slot is two cache lines");

/* One a CPU. Events are counted by kind; tickets are what the ring's arithmetic is about. Once no
 * program runs any more:  seen = filtered + shed + claimed,  tickets issued = published + abandoned. */
struct account {
	u64 seen[KIND_COUNT];      /* events */
	u64 filtered[KIND_COUNT];  /* events outside of the recorded tree, or the recorder's own syscalls */
	u64 shed[KIND_COUNT];      /* events that took no ticket, as the reader was half a ring behind */
	u64 claimed[KIND_COUNT];   /* events that took tickets */
	u64 abandoned[KIND_COUNT]; /* events that found a slot of theirs taken or lapped */
	u64 published_tickets;
	u64 abandoned_tickets;
	u64 storage_refused; /* times that membership of the tree could not be set, or told */
	u64 adopted;         /* tasks that were marked as members of the tree by an iterator */
	u64 live;            /* members of the tree that an iterator found alive */
	u64 listings;        /* times that the listing iterator came to its end */
	u64 unbegun;         /* syscalls that returned, and whose beginning was not seen: syscalls.h */
	u64 unwanted;        /* syscalls that returned, of numbers that were not asked for */
	u64 unused[5];       /* to a multiple of 128 bytes: CPUs share no cache line, nor its neighbour */
};

_Static_assert(sizeof(struct account) % 128 == 0, "accounts of two CPUs share no cache line");

/* Where events were abandoned, so that the consumer need not guess by time: a hint, written round and
 * round. One word an entry, (first ticket << 8 | span), so that it can't be read half written. */
#define ABANDON_LOG_ENTRIES 64
#define ABANDON_SPAN_BITS 8

#endif
