/* CLONE_PARENT: the new process is the caller's sibling. Who forked it is not who its parent is.
 *
 * grandchild = clone(CLONE_PARENT) in a child of this program: this program reaps both.
 * Status 0 if the child ended with 0 and the sibling that it made with 4.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int status, statuses = 0, reaped = 0;
	pid_t child = fork();

	if (child < 0)
		return 1;
	if (child == 0) {
		/* the order of the other arguments differs between machines; all are 0 */
		long sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		_exit(sibling == 0 ? 4 : sibling < 0);
	}
	while (wait(&status) > 0) {
		reaped++;
		statuses += WIFEXITED(status) ? WEXITSTATUS(status) : 100;
	}
	if (reaped != 2 || statuses != 4) {
		fprintf(stderr, "reaped %d children with statuses that add up to %d\n", reaped, statuses);
		return 1;
	}
	return 0;
}
