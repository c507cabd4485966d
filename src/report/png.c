/* png: reading a PNG's header, and base 64 (RFC 4648). */
#include "report/png.h"

#include <string.h>

static uint32_t get_u32be(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

bool epl_png_size(const void *png, size_t bytes, uint32_t *width, uint32_t *height, uint32_t *channels)
{
    static const unsigned char start[16] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R' };
    static const unsigned char n_channels[7] = { 1, 0, 3, 3, 2, 0, 4 }; // by colour type; 3 is a palette
    const unsigned char *p = png;
    if (!p || bytes < 33 || memcmp(p, start, sizeof start) != 0 || p[25] > 6 || !n_channels[p[25]])
        return false;
    *width    = get_u32be(p + 16);
    *height   = get_u32be(p + 20);
    *channels = n_channels[p[25]];
    return *width >= 1 && *width <= 65535 && *height >= 1 && *height <= 65535;
}

void epl_base64(epl_text *t, const void *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t   n = bytes - i < 3 ? bytes - i : 3;
        const uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0u);
        const char out[4] = { digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                              n > 2 ? digits[v & 63] : '=' };
        epl_text_add_bytes(t, out, 4);
    }
}

void epl_png_address(epl_text *t, const void *png, size_t bytes)
{
    epl_text_add(t, "data:image/png;base64,");
    epl_base64(t, png, bytes);
}
