/* Names as an attacker or an accident chooses them: each child execs this program again under an odd one.
 *
 * Control characters, terminal escapes, newlines, invalid UTF-8, a spreadsheet formula, HTML, an empty argument, no
 * argument at all, 100,000 bytes of arguments, a filename as long as a path can be; and a comm of the same bytes,
 * before the exec and after it. Status 0 if every child ended with 0.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMED "LINNIX_REC_NAMED" /* the comm to end with, for those that only end */
#define LONG_ARGUMENT_BYTES 100000
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char self[PATH_MAX], long_path[PATH_MAX];
static char long_argument[LONG_ARGUMENT_BYTES + 1];

static int run(const char *file, const char *comm, char *const argv[])
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_NAME, comm);
		setenv(NAMED, comm, 1);
		execv(file, argv);
		_exit(126);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "a child ended with wait status %#x\n", (unsigned int)status);
		return 1;
	}
	return 0;
}

/* The same file by a path of nearly PATH_MAX bytes: "/././././...". */
static void lengthen(const char *path)
{
	size_t tail = strlen(path), at = 0;

	while (at + 2 + tail + 1 <= sizeof(long_path)) {
		memcpy(long_path + at, "/.", 2);
		at += 2;
	}
	memcpy(long_path + at, path, tail + 1);
}

int main(void)
{
	char *const odd[] = {
		"\033[2J\033]0;owned\a", "two\nlines\r", "\xff\xfe invalid \xc3", "\xed\xa0\x80 a surrogate",
		"\xee\xbe\x80 a private-use character", "=1+1", "<b>&amp;</b>", "back\\slash \\x1b", "\xe2\x80\xae right to left",
	};
	char *arguments[COUNT(odd) + 3];
	size_t i, n = 0;
	int failed = 0;

	if (getenv(NAMED)) {
		prctl(PR_SET_NAME, getenv(NAMED)); /* exec has just set it to the file's name */
		return 0;
	}
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		perror("/proc/self/exe");
		return 1;
	}
	lengthen(self);
	memset(long_argument, 'a', LONG_ARGUMENT_BYTES);

	for (i = 0; i < COUNT(odd); i++) {
		char *const one[] = {odd[i], odd[i], "", NULL};

		failed |= run(self, odd[i], one);
		arguments[n++] = odd[i];
	}
	arguments[n++] = "";
	arguments[n++] = long_argument;
	arguments[n] = NULL;
	failed |= run(self, "", arguments);
	failed |= run(long_path, "long path", (char *const[]){"long path", NULL});
	failed |= run(self, "no arguments", (char *const[]){NULL});
	return failed;
}
