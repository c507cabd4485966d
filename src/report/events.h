/* events: reading event files back, as far as continuing one needs. */
#ifndef EPL_REPORT_EVENTS_H
#define EPL_REPORT_EVENTS_H

#include <espalier/base.h>

/* The step of an Event message (0 if it names none); false if the bytes are no protobuf message. */
bool epl_event_step(const unsigned char *p, size_t n, int64_t *step);

/* How many leading bytes are whole records, with right checksums, of steps up to `last`. */
size_t epl_events_scan(const unsigned char *data, size_t size, int64_t last);

#endif
