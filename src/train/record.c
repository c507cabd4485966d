/* record: an epoch's numbers as a JSON object, for checkpoints, results and the command. One list names them. */
#include "train/train.h"

#include <math.h>

#define NUMBERS(X)                                                                                                                 \
    X(i64, epoch) X(i64, step) X(f64, rate) X(f64, loss) X(f64, accuracy) X(f64, val_loss) X(f64, val_accuracy) X(f64, val_top5)   \
    X(f64, seconds)

void epl_epoch_record_put(epl_json_writer *w, const epl_epoch_record *r)
{
    epl_json_open_object(w, NULL);
#define PUT(type, name) epl_json_put_##type(w, #name, r->name);
    NUMBERS(PUT)
#undef PUT
    epl_json_close(w);
}

/* null is NaN: what was not measured. */
static bool get_f64(const epl_json *j, const char *name, double *x)
{
    if (!epl_json_f64(epl_json_get(j, name), x))
        *x = (double)NAN;
    return true;
}

static bool get_i64(const epl_json *j, const char *name, int64_t *x)
{
    return epl_json_i64(epl_json_get(j, name), x) && *x >= 0;
}

bool epl_epoch_record_get(const epl_json *j, epl_epoch_record *r)
{
#define GET(type, name) &&get_##type(j, #name, &r->name)
    return true NUMBERS(GET);
#undef GET
}
