/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The few kernel types, helpers and attributes that the programs use. Offsets are of no importance
 * here: every access is relocated against the running kernel's BTF when the object is loaded (CO-RE).
 */
#ifndef LINNIX_REC_KERNEL_H
#define LINNIX_REC_KERNEL_H

#include "slot.h"

typedef _Bool bool;
#define true 1
#define false 0

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define PAGE_APART __attribute__((aligned(128)))

/* Map definitions, as BTF carries them: an integer is the dimension of an array. */
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, type_) typeof(type_) *name

enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1 << 0,
	BPF_RB_NO_WAKEUP = 1 << 0,
	BPF_RB_FORCE_WAKEUP = 1 << 1,
};

/* Helpers by their number in the kernel's ABI (include/uapi/linux/bpf.h). */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_perf_event_output)(void *ctx, void *map, u64 flags, void *data, u64 bytes) = (void *)25;
static u64 (*const bpf_get_current_task_btf)(void) = (void *)158;
static long (*const bpf_probe_read_user)(void *to, u32 bytes, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, u32 bytes, const void *from) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *to, u32 bytes, const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *to, u32 bytes, const void *from) = (void *)115;
static u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*const bpf_ringbuf_output)(void *map, void *data, u64 bytes, u64 flags) = (void *)130;
static void *(*const bpf_ringbuf_reserve)(void *map, u64 bytes, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *record, u64 flags) = (void *)132;
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value, u64 flags) = (void *)156;
static long (*const bpf_task_storage_delete)(void *map, void *task) = (void *)157;

#define EBUSY 16
#define BPF_F_CURRENT_CPU 0xffffffffULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	u32 val;
} kgid_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live;
	u32 flags;
	int group_exit_code;
	unsigned long maxrss; /* pages */
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct task_struct {
	int pid;
	int tgid;
	u32 flags;
	int exit_state;
	int exit_code;
	char comm[COMM_BYTES];
	u64 start_boottime;
	u64 utime;
	u64 stime;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct sched_entity se;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *cred;
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct mm_struct *mm;
};

/* An architecture's own: only one of each two is on a kernel. */
struct pt_regs___x86 {
	unsigned long bx;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};

struct thread_info___x86 {
	u32 status;
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct thread_info___arm64 {
	unsigned long flags;
};

struct task_struct___arm64 {
	struct thread_info___arm64 thread_info;
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

/* The iterator's context is laid out by the kernel for the program: nothing to relocate. */
struct bpf_iter__task {
	void *meta;
	struct task_struct *task;
};

/* Whether this kernel has the field: known when the program is loaded. */
#define HAS_FIELD(field) __builtin_preserve_field_info(field, 2)

#define TS_COMPAT 0x0002      /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT (1UL << 22) /* arch/arm64/include/asm/thread_info.h */
#define X32_SYSCALL_BIT 0x40000000
#define SIGNAL_GROUP_EXIT 0x00000004 /* include/linux/sched/signal.h */
#define PF_EXITING 0x00000004        /* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

#endif
