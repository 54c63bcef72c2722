/* A leader that ends before its threads: it leaves 7 behind as its own exit code, and the process ends with 3.
 *
 * The raw exit(2) ends one thread only; the leader stays a zombie until the last thread calls exit_group(2).
 * A shell's $? is 3: the process's status is the group's, not the leader's.
 */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *outlive_leader(void *unused)
{
	(void)unused;
	usleep(100 * 1000);
	_exit(3);
}

int main(void)
{
	pthread_t last;

	if (pthread_create(&last, NULL, outlive_leader, NULL))
		return 1;
	syscall(SYS_exit, 7);
	return 1;
}
