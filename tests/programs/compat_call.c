/*
 * compat_call: asks for its process id by the 32-bit table, as a 64-bit program on x86 can; prints 1 if it
 * could. Where the kernel has no such table, or on another machine, it prints 0.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void refused(int number)
{
	(void)number;
	_exit(write(1, "0\n", 2) != 2);
}

int main(void)
{
#ifdef __x86_64__
	long answer = 20; /* getpid there, writev here */

	signal(SIGSEGV, refused);
	__asm__ volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
	printf("%d\n", answer == getpid());
#else
	refused(0);
#endif
	return 0;
}
