/* Two children by vfork: one execs /bin/true, the other leaves at once with status 5.
 *
 * A vfork child runs in its parent's memory while the parent sleeps (CLONE_VFORK | CLONE_VM). Each
 * stands in a function of its own, so that the compiler keeps nothing of ours in the child's way.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int status_of(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static pid_t start_true(void)
{
	pid_t child = vfork();

	if (child == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	return child;
}

static pid_t start_leaver(void)
{
	pid_t child = vfork();

	if (child == 0)
		_exit(5);
	return child;
}

int main(void)
{
	int executed = status_of(start_true()), left = status_of(start_leaver());

	if (executed != 0 || left != 5) {
		fprintf(stderr, "exec child ended with %d, the other with %d\n", executed, left);
		return 1;
	}
	return 0;
}
