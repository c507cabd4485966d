/* time: seconds that never run backwards. */
#include <espalier/base.h>

#include <time.h>

double epl_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
