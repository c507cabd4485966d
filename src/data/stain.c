/* stain: what histology needs of a picture - colour deconvolution into stains, Ruifrok & Johnston 2001, "Quantification of
 * histochemical staining by color deconvolution", the share of tissue, and Otsu's threshold, Otsu 1979. */
#include <math.h>

#include <espalier/data.h>

/* Rows: haematoxylin, eosin (unit vectors of optical density), and what is left: their cross product. */
void epl_stain_matrix(double m[9])
{
    static const double stains[2][3] = { { 0.650, 0.704, 0.286 }, { 0.072, 0.990, 0.105 } };
    for (int s = 0; s < 2; s++) {
        const double *v = stains[s], length = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (int c = 0; c < 3; c++)
            m[3 * s + c] = v[c] / length;
    }
    const double cross[3] = { m[1] * m[5] - m[2] * m[4], m[2] * m[3] - m[0] * m[5], m[0] * m[4] - m[1] * m[3] };
    const double length = sqrt(cross[0] * cross[0] + cross[1] * cross[1] + cross[2] * cross[2]);
    for (int c = 0; c < 3; c++)
        m[6 + c] = cross[c] / length;
}

/* The inverse of a 3 x 3 matrix by its adjugate. */
static void invert(const double m[9], double out[9])
{
    double det = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            const int a = (i + 1) % 3, b = (i + 2) % 3, c = (k + 1) % 3, d = (k + 2) % 3;
            out[3 * k + i] = m[3 * a + c] * m[3 * b + d] - m[3 * a + d] * m[3 * b + c];
        }
    for (int k = 0; k < 3; k++)
        det += m[k] * out[3 * k];
    for (int i = 0; i < 9; i++)
        out[i] /= det;
}

epl_tensor *epl_image_stains(epl_context *ctx, const epl_tensor *image)
{
    double m[9], inverse[9], density[256];
    if (image->dtype != EPL_U8 || image->shape.rank != 3 || image->shape.dim[2] != 3) {
        char shape[192];
        epl_fail(ctx, EPL_ERR_SHAPE, "stains are taken from pictures u8 [H, W, 3], not %s%s", epl_dtype_name(image->dtype),
                 epl_shape_text(shape, image->shape));
        return NULL;
    }
    epl_tensor *out = epl_tensor_new(ctx, EPL_F32, image->shape);
    if (!out)
        return NULL;
    epl_stain_matrix(m);
    invert(m, inverse);
    for (int i = 0; i < 256; i++)
        density[i] = -log((i + 1) / 256.0);
    const uint8_t *p = image->data;
    float         *c = out->data;
    for (int64_t i = 0; i < epl_tensor_count(image); i += 3)
        for (int s = 0; s < 3; s++)
            c[i + s] = (float)(density[p[i]] * inverse[s] + density[p[i + 1]] * inverse[3 + s] + density[p[i + 2]] * inverse[6 + s]);
    return out;
}

double epl_otsu(const double *histogram, int n)
{
    double total = 0, sum = 0, below = 0, sum_below = 0, best = -1, low = 0, high = 0;
    for (int i = 0; i < n; i++) {
        total += histogram[i];
        sum += i * histogram[i];
    }
    for (int i = 0; i + 1 < n; i++) {
        below += histogram[i];
        sum_below += i * histogram[i];
        const double above = total - below;
        if (below <= 0 || above <= 0)
            continue;
        const double apart = sum_below / below - (sum - sum_below) / above, between = below * above * apart * apart;
        if (between > best * (1 + 1e-12)) {
            best = between;
            low  = i;
        }
        if (between >= best * (1 - 1e-12))
            high = i; // a gap without pixels: its middle
    }
    return 0.5 * (low + high) + 1;
}
