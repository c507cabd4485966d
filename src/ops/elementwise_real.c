/* The element-wise rows over double: the definition that every kernel is held to. */
#include "ops/elementwise.h"
#include "ops/real_math.h"

#define KEEP_ANY       KEEP
#define KEEP_REAL      KEEP
#define KEEP_NUMBER    KEEP
#define KEEP_INTEGER   DROP
#define KEEP_LOGIC     KEEP
#define KEEP_TEST      KEEP
#define KEEP_REAL_TEST KEEP
#define KEEP_SELECT    KEEP
#define EPL_ROWS       epl_rows_real
#include "ops/elementwise_rows.h"
