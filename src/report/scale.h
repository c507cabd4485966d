/* scale: from a range of numbers to pixels, and the ticks that people like to read there. */
#ifndef EPL_REPORT_SCALE_H
#define EPL_REPORT_SCALE_H

#include <stdbool.h>
#include <stddef.h>

enum { SCALE_MAX_TICKS = 48, SCALE_LABEL_SIZE = 32 };

typedef struct scale {
    double low, high;       /* the data range shown */
    double start, end;      /* its pixels */
    bool   log, percent;
    bool   whole;           /* ticks at integers only */
    bool   empty;           /* no drawable value was seen */
    int    n_ticks;
    double tick[SCALE_MAX_TICKS];
    double step;            /* between linear ticks */
} scale;

scale epl_scale_new(bool log);                       /* empty, whole */
void  epl_scale_see(scale *s, double x);             /* widens the range; values that cannot be drawn are ignored */
bool  epl_scale_drawable(const scale *s, double x);  /* finite, and positive on a logarithmic scale */

/* Widens the range by a share of its width at both ends, but not past zero, nor past 100 % where the data stops there. */
void  epl_scale_pad(scale *s, double share);

/* Chooses about n ticks. `nice` widens the range to ticks at both ends. A range of no width is opened. */
void  epl_scale_finish(scale *s, int n, bool nice);
void  epl_scale_fix(scale *s, double low, double high); /* a range given by the caller; ignored if low == high */
double epl_scale_pixel(const scale *s, double x);
void  epl_scale_label(const scale *s, int tick, char out[SCALE_LABEL_SIZE]);

/* A value printed beside a bar or in a cell: three significant digits, k, M, G; `percent` as 12.3 %. */
void  epl_scale_value(char out[SCALE_LABEL_SIZE], double x, bool percent);

#endif
