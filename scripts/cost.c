/* Preloaded into the server by scripts/cost: the clock stands still and random numbers are zeros. So the slots of the timer
 * wheel and the places in hash tables are the same in each run, and so is what they cost. */

#include <string.h>
#include <sys/types.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    now->tv_sec = clock == CLOCK_REALTIME ? NOW : 1000;
    now->tv_nsec = 0;
    return 0;
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    (void)flags;
    memset(buffer, 0, length);
    return length;
}
