/* A daemon: the grandchild outlives its parent and its grandparent. Prints the grandchild's pid.
 *
 * Both intermediate processes end at once; the orphan is reparented to the nearest subreaper or to init, lives for
 * half a second (or for the number of milliseconds that is given) and ends with 6, which nobody here waits for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int life_ms = argc > 1 ? atoi(argv[1]) : 500, status;
	pid_t child = fork();

	if (child < 0)
		return 1;
	if (child == 0) {
		pid_t orphan;

		setsid();
		orphan = fork();
		if (orphan == 0) {
			/* whoever reads our output by a pipe must not wait for the orphan */
			close(STDIN_FILENO);
			close(STDOUT_FILENO);
			close(STDERR_FILENO);
			usleep((useconds_t)life_ms * 1000);
			_exit(6);
		}
		if (orphan > 0)
			dprintf(STDOUT_FILENO, "%d\n", orphan);
		_exit(orphan < 0);
	}
	return waitpid(child, &status, 0) != child || status;
}
