// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A record whose size is known only when the program runs, into the BPF ring buffer in two ways: by a
 * reservation of that size, which no verifier accepts, and by a copy, which it does. `bench dynamic` loads
 * each, and attaches neither.
 */
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TEXT_MAX 256

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 16);
} events SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_UINT(value_size, 2 * TEXT_MAX);
} room SEC(".maps");

SEC("tp_btf/sched_process_exec")
int reserve(u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[2];
	char text[TEXT_MAX];
	long bytes = bpf_probe_read_kernel_str(text, sizeof(text), bprm->filename);
	void *record;

	if (bytes <= 0)
		return 0;
	record = bpf_ringbuf_reserve(&events, bytes, 0);
	if (!record)
		return 0;
	bpf_probe_read_kernel(record, bytes, bprm->filename);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int output(u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[2];
	u32 first = 0;
	char *text = bpf_map_lookup_elem(&room, &first);
	long bytes;

	if (!text)
		return 0;
	bytes = bpf_probe_read_kernel_str(text, TEXT_MAX, bprm->filename);
	if (bytes > 0)
		bpf_ringbuf_output(&events, text, bytes, 0);
	return 0;
}
