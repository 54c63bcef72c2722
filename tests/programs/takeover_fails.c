/* A takeover whose exec fails past the point of no return: the leader's tid exits twice, with no EXEC between.
 *
 * begin_new_exec() (fs/exec.c) kills the other threads and hands the leader's tid to the taker before the ELF
 * loader maps anything. The file written here passes every check before that and asks for a segment of which the
 * part on file is larger than the whole (p_filesz > p_memsz), which load_elf_binary() refuses only when it maps:
 * with no program left to return to, the kernel kills the process with SIGSEGV. In a child, so that this program
 * can say how it went: status 0 if the child died of SIGSEGV or SIGKILL.
 */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ == 8
typedef Elf64_Ehdr elf_header;
typedef Elf64_Phdr elf_segment;
#define ELF_CLASS ELFCLASS64
#else
typedef Elf32_Ehdr elf_header;
typedef Elf32_Phdr elf_segment;
#define ELF_CLASS ELFCLASS32
#endif

struct poisoned {
	elf_header header;
	elf_segment segment;
};

static char path[] = "/tmp/linnix-rec-poisoned-XXXXXX";

/* Machine and byte order are those of this very program. */
static int write_poisoned(void)
{
	struct poisoned file;
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = mkstemp(path);

	memset(&file, 0, sizeof(file));
	if (self < 0 || out < 0 || read(self, &file.header, sizeof(file.header)) != sizeof(file.header))
		return -1;
	close(self);
	file.header.e_type = ET_EXEC;
	file.header.e_entry = 0x400000;
	file.header.e_phoff = sizeof(file.header);
	file.header.e_phnum = 1;
	file.header.e_phentsize = sizeof(file.segment);
	file.segment.p_type = PT_LOAD;
	file.segment.p_flags = PF_R | PF_X;
	file.segment.p_vaddr = 0x400000;
	file.segment.p_filesz = 0x2000;
	file.segment.p_memsz = 0x1000;
	file.segment.p_align = 0x1000;
	if (write(out, &file, sizeof(file)) != sizeof(file) || fchmod(out, 0700))
		return -1;
	return close(out); /* a file open for writing can't be executed */
}

static void *take_over(void *unused)
{
	char *const argv[] = {path, NULL};

	(void)unused;
	execv(path, argv);
	_exit(3); /* refused before the point of no return: not what this program is for */
}

static int run_doomed(void)
{
	pthread_t taker;

	if (pthread_create(&taker, NULL, take_over, NULL))
		return 2;
	pthread_join(taker, NULL);
	return 2;
}

int main(void)
{
	int status;
	pid_t child;

	if (write_poisoned()) {
		perror(path);
		return 1;
	}
	child = fork();
	if (child == 0)
		_exit(run_doomed());
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		return 1;
	}
	unlink(path);
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGKILL)) {
		printf("%d died of signal %d\n", child, WTERMSIG(status));
		return 0;
	}
	fprintf(stderr, "the child ended with wait status %#x, not by the kernel's hand\n", (unsigned int)status);
	return 1;
}
