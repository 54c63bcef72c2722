/* Threads that only begin and end: thread_storm [ROUNDS [THREADS]], 50 rounds of 20 unless told.
 *
 * Each thread is a fork event with CLONE_THREAD and an exit that is not the last of its process.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_THREADS 1000

static void *end_at_once(void *unused)
{
	return unused;
}

int main(int argc, char **argv)
{
	static pthread_t threads[MOST_THREADS];
	int rounds = argc > 1 ? atoi(argv[1]) : 50, count = argc > 2 ? atoi(argv[2]) : 20;
	int round, i;

	if (rounds < 0 || count < 1 || count > MOST_THREADS) {
		fprintf(stderr, "usage: thread_storm [ROUNDS [THREADS, at most %d]]\n", MOST_THREADS);
		return 2;
	}
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < count; i++)
			if (pthread_create(&threads[i], NULL, end_at_once, NULL))
				return 1;
		for (i = 0; i < count; i++)
			pthread_join(threads[i], NULL);
	}
	return 0;
}
