/* ports: see ports.c. */
#ifndef EPL_PORTS_H
#define EPL_PORTS_H

#include "compile/emit.h"

bool        epl_ports_make(epl_emitter *e);
bool        epl_is_identifier(const char *s);
void        epl_upper(char out[64], const char *name);
const char *epl_c_type(epl_dtype t);
void        epl_ports_signature(const epl_emitter *e, bool inside, epl_text *t); /* inside: with the prefixes in_ and out_ */

#endif
