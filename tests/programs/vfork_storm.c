/* Births and deaths as fast as one CPU makes them: `vfork_storm N` makes N children that end at once. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static __attribute__((noinline)) pid_t bear(void)
{
	pid_t child = vfork();

	if (!child)
		_exit(0);
	return child;
}

int main(int argc, char **argv)
{
	for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--)
		if (waitpid(bear(), NULL, 0) < 0)
			return 1;
	return 0;
}
