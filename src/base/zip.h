/* zip: archives that lie in memory, read; archives of stored members, written. Reads zip64; leaves out encryption, several
 * volumes, and methods other than stored and deflated. */
#ifndef EPL_BASE_ZIP_H
#define EPL_BASE_ZIP_H

#include <espalier/base.h>

typedef struct epl_zip_member {
    char                *name; /* terminated; no zero byte inside */
    const unsigned char *data; /* as it lies in the archive */
    uint64_t             packed_bytes, bytes;
    uint32_t             crc;
    bool                 deflated;
} epl_zip_member;

typedef struct epl_zip {
    epl_context    *ctx;
    const char     *file; /* for messages; borrowed */
    epl_zip_member *members;
    size_t          count;
} epl_zip;

/* Reads the directory, checking that every member lies inside the file, that no two overlap and that no name comes twice.
 * Borrows data and name until the close. */
bool epl_zip_open(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_zip *out);
void epl_zip_close(epl_zip *z); /* accepts a zero value */

/* The member's bytes, unpacked and checked against its checksum; the caller owns them (epl_release). NULL on failure. */
unsigned char *epl_zip_read(const epl_zip *z, const epl_zip_member *m);

/* ---- writing: each member is announced with its size and checksum, then written in pieces through the file's write */
typedef struct epl_zip_writer {
    epl_writer *file;
    epl_text    directory;
    uint64_t    offset;
    unsigned    count;
} epl_zip_writer;

uint32_t epl_crc32(uint32_t so_far, const void *data, size_t bytes); /* the zip and PNG polynomial; start with 0 */

/* False with EPL_ERR_UNSUPPORTED where the archive would need zip64. */
bool epl_zip_begin(epl_zip_writer *z, epl_context *ctx, const char *name, uint64_t bytes, uint32_t crc);
void epl_zip_write(epl_zip_writer *z, const void *data, size_t bytes);
/* The directory. Committing the file stays with the caller, and tells whether all could be written. */
bool epl_zip_finish(epl_zip_writer *z);

#endif
