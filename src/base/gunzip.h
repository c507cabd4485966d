/* gunzip: reads a gzip file that lies in memory, piece by piece, so that a reader can look at a header before it decides
 * how much to believe. */
#ifndef EPL_BASE_GUNZIP_H
#define EPL_BASE_GUNZIP_H

#include <espalier/base.h>

/* Deflate cannot pack better than this: one byte in gives at most so many out. */
enum { EPL_GUNZIP_MAX_RATIO = 1032 };

typedef struct epl_gunzip epl_gunzip;

bool epl_is_gzip(const void *data, size_t bytes);

/* Borrows data until the free. `name` is for messages and is borrowed too. */
epl_gunzip *epl_gunzip_new(epl_context *ctx, const void *data, size_t bytes, const char *name);
void        epl_gunzip_free(epl_gunzip *g); /* accepts NULL */

/* Up to n bytes to out; fewer only at the end, which has then been checked against the file's checksum. Returns false,
 * with the reason recorded, where the file is damaged or cut off. */
bool epl_gunzip_read(epl_gunzip *g, void *out, size_t n, size_t *n_read);

/* Everything, at most `limit` bytes. The caller owns *out (epl_release), which is terminated by a zero byte. */
bool epl_gunzip_all(epl_context *ctx, const void *data, size_t bytes, const char *name, size_t limit, char **out,
                    size_t *n_out);

#endif
