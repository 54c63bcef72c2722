/* posix_spawn: three of /bin/true, and one of a file that isn't there, whose child lives and dies unseen.
 *
 * glibc spawns with CLONE_VM | CLONE_VFORK; the failing exec happens in a child that exits with 127 and is reaped
 * inside of posix_spawn(). A recording holds a fork and an exit for it, and no exec.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

extern char **environ;

int main(void)
{
	char *const argv[] = {"true", NULL};
	pid_t child;
	int i, status;

	for (i = 0; i < 3; i++) {
		if (posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ)) {
			perror("posix_spawn /bin/true");
			return 1;
		}
		if (waitpid(child, &status, 0) != child || status)
			return 1;
	}
	return posix_spawn(&child, "/no/such/program", NULL, NULL, argv, environ) == ENOENT ? 0 : 1;
}
