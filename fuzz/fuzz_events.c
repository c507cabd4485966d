/* The reader of TensorBoard event files, which a resumed run uses: the input as a whole file, and, since random bytes seldom
 * have right checksums, as one message. */
#include "report/events.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t step;
    const size_t all = epl_events_scan(data, size, INT64_MAX), some = epl_events_scan(data, size, 3);
    if (all > size || some > all || epl_events_scan(data, all, INT64_MAX) != all)
        abort();
    epl_event_step(data, size, &step);
    return 0;
}
