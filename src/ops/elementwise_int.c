/* The element-wise rows over signed 64-bit integers. */
#include "ops/elementwise.h"

typedef int64_t scalar;
#include "ops/int_math.h"

#define KEEP_ANY       KEEP
#define KEEP_REAL      DROP
#define KEEP_NUMBER    KEEP
#define KEEP_INTEGER   KEEP
#define KEEP_LOGIC     KEEP
#define KEEP_TEST      KEEP
#define KEEP_REAL_TEST DROP
#define KEEP_SELECT    KEEP
#define EPL_ROWS       epl_rows_int
#include "ops/elementwise_rows.h"
