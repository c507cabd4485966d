/* png: as much of a PNG file as a report needs - its size, and its bytes as text for a data: address. */
#ifndef EPL_REPORT_PNG_H
#define EPL_REPORT_PNG_H

#include <espalier/base.h>

/* True if the bytes start as a PNG file does (signature and IHDR) and its sides are 1..65535. */
bool epl_png_size(const void *png, size_t bytes, uint32_t *width, uint32_t *height, uint32_t *channels);
void epl_base64(epl_text *t, const void *data, size_t bytes);
void epl_png_address(epl_text *t, const void *png, size_t bytes); /* "data:image/png;base64,..." */

#endif
