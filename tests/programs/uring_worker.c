/* An io_uring worker: a thread that the kernel makes in this process, by create_io_thread() and not by clone(2).
 *
 * It appears in task_newtask but not in sched_process_fork, so that a recorder built on the latter sees an exit
 * with no birth. IOSQE_ASYNC on a read from an empty pipe forces the work to a worker. Raw syscalls: no liburing.
 * Status 0 if the read came back; 77 if this kernel or its sysctl kernel.io_uring_disabled refuses io_uring.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATUS_REFUSED 77

static void *map(int ring, size_t bytes, off_t what)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);
}

int main(void)
{
	struct io_uring_params params;
	struct io_uring_sqe *entries, *entry;
	struct io_uring_cqe *completion;
	unsigned char *submissions, *completions;
	_Atomic uint32_t *tail;
	uint32_t mask, slot;
	char byte = 0;
	int ring, ends[2];

	memset(&params, 0, sizeof(params));
	ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0) {
		perror("io_uring_setup");
		return errno == ENOSYS || errno == EPERM ? STATUS_REFUSED : 1;
	}
	submissions = map(ring, params.sq_off.array + params.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
	completions = map(ring, params.cq_off.cqes + params.cq_entries * sizeof(*completion), IORING_OFF_CQ_RING);
	entries = map(ring, params.sq_entries * sizeof(*entries), IORING_OFF_SQES);
	if (submissions == MAP_FAILED || completions == MAP_FAILED || entries == MAP_FAILED || pipe(ends)) {
		perror("mmap");
		return 1;
	}

	tail = (_Atomic uint32_t *)(submissions + params.sq_off.tail);
	memcpy(&mask, submissions + params.sq_off.ring_mask, sizeof(mask));
	slot = atomic_load(tail) & mask;
	entry = &entries[slot];
	memset(entry, 0, sizeof(*entry));
	entry->opcode = IORING_OP_READ;
	entry->flags = IOSQE_ASYNC; /* don't try in the submitter: hand it to a worker at once */
	entry->fd = ends[0];
	entry->addr = (uint64_t)(uintptr_t)&byte;
	entry->len = 1;
	((uint32_t *)(submissions + params.sq_off.array))[slot] = slot;
	atomic_fetch_add(tail, 1);

	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1) {
		perror("io_uring_enter");
		return 1;
	}
	usleep(50 * 1000); /* let the worker sleep in its read: it is then a thread to be seen */
	if (write(ends[1], "x", 1) != 1 || syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
		perror("io_uring_enter");
		return 1;
	}
	completion = (struct io_uring_cqe *)(completions + params.cq_off.cqes);
	return completion->res == 1 && byte == 'x' ? 0 : 1;
}
