/* A thread that is not the leader execs: it takes over the leader's tid and the process's identity.
 *
 * The kernel kills the leader (EXIT of the leader's tid, not the last thread), and the EXEC then carries the
 * leader's tid and, as old_tid, the taker's. The process ends with /bin/echo's status, 0.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *take_over(void *unused)
{
	char *const argv[] = {"echo", "taken over", NULL};

	(void)unused;
	execv("/bin/echo", argv);
	perror("execv /bin/echo");
	_exit(1);
}

int main(void)
{
	pthread_t taker;

	if (pthread_create(&taker, NULL, take_over, NULL)) {
		perror("pthread_create");
		return 1;
	}
	pthread_join(taker, NULL); /* never returns: the exec ends this thread */
	return 1;
}
