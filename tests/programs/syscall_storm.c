/*
 * syscall_storm CALLS FORKS: a child calls getppid CALLS times, while its parent forks FORKS children, one
 * after the other, that end with status 7.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	long calls = atol(arguments[1]), forks = atol(arguments[2]);
	pid_t caller = fork();

	if (caller < 0)
		return 1;
	if (caller == 0) {
		for (long i = 0; i < calls; i++)
			syscall(SYS_getppid);
		_exit(0);
	}
	for (long i = 0; i < forks; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(7);
		if (child < 0 || waitpid(child, &status, 0) != child || status != 7 << 8)
			return 1;
	}
	return waitpid(caller, 0, 0) == caller ? 0 : 1;
}
