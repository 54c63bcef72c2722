/* One pid, many processes: pid_reuse [TIMES], 20 unless told. Prints the pid.
 *
 * clone3(2) with set_tid gives each child the pid of the one before (Linux 5.5, CAP_CHECKPOINT_RESTORE or
 * CAP_SYS_ADMIN). Should somebody else have that pid (EEXIST), the next one is tried.
 * Status 0 if the children ended with 0, 1, 2, ... in turn; 77 if the kernel refuses set_tid.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_REFUSED 77
#define ATTEMPTS 1000

static pid_t fork_as(pid_t wanted)
{
	struct clone_args arguments;

	memset(&arguments, 0, sizeof(arguments));
	arguments.exit_signal = SIGCHLD;
	arguments.set_tid = (uint64_t)(uintptr_t)&wanted;
	arguments.set_tid_size = 1;
	return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 20, attempts = ATTEMPTS;
	pid_t wanted = getpid() > 2000 ? getpid() - 1000 : getpid() + 1000, child; /* below pid_max, and not next */
	int i, status;

	for (i = 0; i < times; i++) {
		while ((child = fork_as(wanted)) < 0 && errno == EEXIST && attempts--)
			wanted++;
		if (child == 0)
			_exit(i % 100);
		if (child < 0) {
			perror("clone3 with set_tid");
			return errno == EPERM || errno == ENOSYS || errno == EINVAL ? STATUS_REFUSED : 1;
		}
		if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != i % 100)
			return 1;
	}
	printf("%d\n", wanted);
	return 0;
}
