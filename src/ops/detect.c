/* detect: what detectors put behind their networks - RoiAlign, He et al. 2017 (arXiv:1703.06870), sec. 3, which
 * resamples boxes of a feature map to one size, and NonMaxSuppression, which drops the boxes that overlap better
 * ones. */
#include "ops/dense.h"

enum { OUT_HEIGHT, OUT_WIDTH, RATIO, SCALE, HALF_PIXEL, MAXIMUM, SHAPE };

/* begin reference */
/* A box in pixels of the feature map, cut into bins, each sampled at a grid of points. */
typedef struct epl_roi {
    int64_t image, grid_h, grid_w;
    double  y, x, bin_h, bin_w;
} epl_roi;

static inline int64_t epl_roi_grid(double size, int64_t ratio) /* at least one point for each pixel */
{
    const int64_t n = ratio > 0 ? ratio : epl_ref_to_i64(ceil(size));
    return n < 0 ? 0 : n > 4096 ? 4096 : n;
}

static inline epl_roi epl_roi_of(const epl_view *rois, const epl_view *images, int64_t r, const epl_ref_attr *attr)
{
    const double scale = attr[3].r, shift = attr[4].i ? 0.5 : 0;
    epl_roi      b = { .image = epl_ref_get_i64(images, r) };
    b.x = epl_ref_get(rois, 4 * r) * scale - shift;
    b.y = epl_ref_get(rois, 4 * r + 1) * scale - shift;
    double w = epl_ref_get(rois, 4 * r + 2) * scale - shift - b.x, h = epl_ref_get(rois, 4 * r + 3) * scale - shift - b.y;
    if (!attr[4].i) { // without the shift every box is at least a pixel
        w = w > 1 ? w : 1;
        h = h > 1 ? h : 1;
    }
    b.bin_h  = h / (double)attr[0].i;
    b.bin_w  = w / (double)attr[1].i;
    b.grid_h = epl_roi_grid(b.bin_h, attr[2].i);
    b.grid_w = epl_roi_grid(b.bin_w, attr[2].i);
    return b;
}

/* The four pixels around a point and their bilinear weights; points beyond the map by a pixel and more weigh nothing. */
typedef struct epl_roi_taps {
    int64_t at[4];
    double  weight[4];
} epl_roi_taps;

static inline epl_roi_taps epl_roi_point(const epl_roi *b, int64_t oh, int64_t ow, int64_t k, int64_t height, int64_t width)
{
    double y = b->y + b->bin_h * ((double)oh + ((double)(k / b->grid_w) + 0.5) / (double)b->grid_h);
    double x = b->x + b->bin_w * ((double)ow + ((double)(k % b->grid_w) + 0.5) / (double)b->grid_w);
    epl_roi_taps t = { { 0, 0, 0, 0 }, { 0, 0, 0, 0 } };
    if (!(y >= -1 && y <= (double)height && x >= -1 && x <= (double)width))
        return t;
    y = y < 0 ? 0 : y > (double)(height - 1) ? (double)(height - 1) : y;
    x = x < 0 ? 0 : x > (double)(width - 1) ? (double)(width - 1) : x;
    const int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1 = y0 + 1 < height ? y0 + 1 : y0, x1 = x0 + 1 < width ? x0 + 1 : x0;
    const double  v = y - (double)y0, u = x - (double)x0;
    return (epl_roi_taps){ { y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1 },
                           { (1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u } };
}

/* Walks the results [R, OH, OW, C] of the map [N, H, W, C]: reads the map (forward) or adds to it (its gradient). The largest
 * of a bin is that of the weighted pixels, as ONNX's reference has it. */
static inline void epl_roi_walk(const epl_ref_call *c, const epl_view *map, const epl_view *y, int backward)
{
    const int64_t height = map->dim[1], width = map->dim[2], channels = map->dim[3];
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const int64_t ch = i % channels, ow = i / channels % y->dim[2], oh = i / channels / y->dim[2] % y->dim[1];
        const epl_roi b = epl_roi_of(&c->in[1], &c->in[2], i / channels / y->dim[2] / y->dim[1], c->attr);
        const int64_t points = b.grid_h * b.grid_w;
        double sum = 0, most = -INFINITY;
        for (int64_t k = 0; k < points && b.image >= 0 && b.image < map->dim[0]; k++) {
            const epl_roi_taps t = epl_roi_point(&b, oh, ow, k, height, width);
            for (int j = 0; j < 4; j++) {
                const int64_t at = (b.image * height * width + t.at[j]) * channels + ch;
                if (backward) {
                    epl_ref_set(map, at, epl_ref_get(map, at) + t.weight[j] * epl_ref_get(y, i) / (double)points);
                    continue;
                }
                const double v = t.weight[j] * epl_ref_get(map, at);
                sum += v;
                most = v > most ? v : most;
            }
        }
        if (!backward)
            epl_ref_set(y, i, points == 0 ? 0 : c->attr[5].i ? most : sum / (double)points);
    }
}

static void epl_ref_roi_align(const epl_ref_call *c) { epl_roi_walk(c, &c->in[0], &c->out[0], 0); }

static void epl_ref_roi_align_grad(const epl_ref_call *c)
{
    memset(c->out[0].data, 0, (size_t)(epl_view_count(&c->out[0]) * epl_ref_bytes(c->out[0].dtype)));
    epl_roi_walk(c, &c->out[0], &c->in[0], 1);
}

/* ---- NonMaxSuppression ---- */

/* A box as [low, high] along both axes. */
static inline void epl_nms_box(const epl_view *boxes, int64_t i, int center, double low[2], double high[2])
{
    for (int a = 0; a < 2; a++) {
        const double p = epl_ref_get(boxes, 4 * i + a), q = epl_ref_get(boxes, 4 * i + 2 + a);
        low[a]  = center ? p - q / 2 : p < q ? p : q;
        high[a] = center ? p + q / 2 : p < q ? q : p;
    }
}

/* Intersection over union is above the threshold. */
static inline int epl_nms_overlap(const epl_view *boxes, int64_t i, int64_t j, int center, double threshold)
{
    double a[2], b[2], c[2], d[2], shared = 1, first = 1, second = 1;
    epl_nms_box(boxes, i, center, a, b);
    epl_nms_box(boxes, j, center, c, d);
    for (int k = 0; k < 2; k++) {
        const double low = a[k] > c[k] ? a[k] : c[k], high = b[k] < d[k] ? b[k] : d[k];
        if (high <= low)
            return 0;
        shared *= high - low;
        first  *= b[k] - a[k];
        second *= d[k] - c[k];
    }
    return (float)(shared / (first + second - shared)) > (float)threshold; // the threshold is an f32
}

/* The best of n boxes that ranks after `previous` (-1: of all): by score, of equal ones the first; -1 if there is none. */
static inline int64_t epl_nms_next(const epl_view *scores, int64_t base, int64_t n, int64_t previous, double threshold)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++) {
        const double s = epl_ref_get(scores, base + i), p = previous < 0 ? INFINITY : epl_ref_get(scores, base + previous);
        const int    after = previous < 0 || s < p || (s == p && i > previous);
        if ((s > threshold || threshold == -INFINITY) && after && (best < 0 || s > epl_ref_get(scores, base + best)))
            best = i;
    }
    return best;
}

static void epl_ref_non_max_suppression(const epl_ref_call *c)
{
    const epl_view *boxes = &c->in[0], *scores = &c->in[1];
    const int64_t   n = boxes->dim[1], most = c->attr[0].i, rows = c->out[0].dim[0];
    int64_t        *out = c->out[0].data, row = 0;
    for (int64_t k = 0; k < scores->dim[0] * scores->dim[1]; k++) {
        const int64_t image = k / scores->dim[1], begin = row;
        for (int64_t i = epl_nms_next(scores, k * n, n, -1, c->attr[2].r); i >= 0 && row < rows && row - begin < most;
             i = epl_nms_next(scores, k * n, n, i, c->attr[2].r)) {
            int keep = 1;
            for (int64_t r = begin; r < row && keep; r++)
                keep = !epl_nms_overlap(boxes, image * n + i, image * n + out[3 * r + 2], c->attr[3].i != 0, c->attr[1].r);
            if (!keep)
                continue;
            out[3 * row]     = image;
            out[3 * row + 1] = k % scores->dim[1];
            out[3 * row + 2] = i;
            row++;
        }
    }
    for (int64_t i = 3 * row; i < 3 * rows; i++)
        out[i] = -1;
}
/* end reference */

/* ---- RoiAlign ---- */

static bool check_rois(const epl_node *n, int64_t *count)
{
    const epl_shape rois = n->inputs[1]->shape, images = n->inputs[2]->shape;
    if (rois.rank != 2 || rois.dim[1] != 4 || images.rank != 1 || images.dim[0] != rois.dim[0])
        return epl_node_fail(n, EPL_ERR_SHAPE, "boxes of rank %d for %lld images; [R, 4] and [R] are needed", rois.rank,
                             (long long)(images.rank ? images.dim[0] : 1));
    if (n->attrs[OUT_HEIGHT].i < 1 || n->attrs[OUT_WIDTH].i < 1)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "a result of %lld x %lld", (long long)n->attrs[OUT_HEIGHT].i,
                             (long long)n->attrs[OUT_WIDTH].i);
    *count = rois.dim[0];
    return true;
}

static bool infer_roi_align(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    int64_t         count;
    if (!epl_check_floats(n, 2) || !check_rois(n, &count))
        return false;
    if (x.rank != 4 || epl_shape_count(x) == 0)
        return epl_node_fail(n, EPL_ERR_SHAPE, "an input of rank %d; [N, H, W, C] is needed", x.rank);
    return epl_set_type(n, 0, n->inputs[0]->dtype, EPL_SHAPE(count, n->attrs[OUT_HEIGHT].i, n->attrs[OUT_WIDTH].i, x.dim[3]));
}

static void grad_roi_align(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    if (n->attrs[MAXIMUM].i)
        epl_graph_fail(g, EPL_ERR_UNSUPPORTED, "RoiAlign: the gradient of the largest element is not known");
    else
        dx[0] = epl_apply(g, &epl_op_roi_align_grad, EPL_IN(dy[0], n->inputs[1], n->inputs[2], n->inputs[0]),
                          epl_attrs_of(n, SHAPE, a));
}

static bool infer_roi_align_grad(epl_node *n)
{
    int64_t   count;
    epl_shape x;
    if (!epl_check_floats(n, 2) || !check_rois(n, &count) || !epl_wanted_shape(n, 3, SHAPE, n->inputs[0]->shape, &x))
        return false;
    return epl_check_shape(n, 0, "the output's gradient", EPL_SHAPE(count, n->attrs[OUT_HEIGHT].i, n->attrs[OUT_WIDTH].i, x.dim[3])) &&
           epl_set_type(n, 0, n->inputs[0]->dtype, x);
}

static void grad_roi_align_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_roi_align, EPL_IN(dy[0], n->inputs[1], n->inputs[2]), epl_attrs_of(n, SHAPE, a));
}

/* Boxes are constants: the gradient does not reach them. */
typedef struct roi_case {
    epl_shape  x, y;
    epl_value *rois, *images;
    epl_attr   attrs[EPL_MAX_ATTRS];
} roi_case;

static void draw_rois(epl_graph *g, epl_rng *r, epl_dtype dtype, roi_case *c)
{
    const int     count = epl_pick(r, 1, 3), h = epl_pick(r, 1, 3), w = epl_pick(r, 1, 3);
    epl_tensor   *rois = epl_tensor_new(epl_graph_context(g), dtype, EPL_SHAPE(count, 4));
    int64_t       images[3] = { 0 };
    c->x = epl_pick_shape(r, 4, 2, 4);
    c->y = EPL_SHAPE(count, h, w, c->x.dim[3]);
    for (int i = 0; i < count; i++) {
        images[i] = epl_pick(r, 0, (int)c->x.dim[0] - 1);
        for (int k = 0; rois && k < 4; k++)
            epl_tensor_set(rois, 4 * i + k, epl_pick(r, 0, 8) * 0.5 + (k > 1 ? 2 : 0));
    }
    memset(c->attrs, 0, sizeof c->attrs);
    c->attrs[OUT_HEIGHT] = EPL_A_I(h);
    c->attrs[OUT_WIDTH]  = EPL_A_I(w);
    c->attrs[RATIO]      = EPL_A_I(epl_pick(r, 0, 2));
    c->attrs[SCALE]      = EPL_A_R(0.7);
    c->attrs[HALF_PIXEL] = EPL_A_I(epl_pick(r, 0, 1));
    c->rois   = rois ? epl_constant(g, rois) : NULL;
    c->images = epl_constant_i64(g, count, images);
    epl_tensor_free(rois);
}

static epl_node *sample_roi_align(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    roi_case c;
    draw_rois(g, r, dtype, &c);
    return epl_node_add(g, &epl_op_roi_align, EPL_IN(epl_sample_input(g, dtype, c.x, -1, 1, 0), c.rois, c.images), c.attrs, 0, NULL);
}

static epl_node *sample_roi_align_grad(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    roi_case c;
    draw_rois(g, r, dtype, &c);
    c.attrs[SHAPE] = EPL_A_INTS(4, c.x.dim);
    return epl_node_add(g, &epl_op_roi_align_grad, EPL_IN(epl_sample_input(g, dtype, c.y, -1, 1, 0), c.rois, c.images), c.attrs, 0, NULL);
}

#define ROI_ATTRS                                                                                                      \
    [OUT_HEIGHT] = { "output_height", EPL_ATTR_INT, .def_i = 1 }, [OUT_WIDTH] = { "output_width", EPL_ATTR_INT, .def_i = 1 }, \
    [RATIO] = { "sampling_ratio", EPL_ATTR_INT }, [SCALE] = { "spatial_scale", EPL_ATTR_REAL, .def_r = 1 },            \
    [HALF_PIXEL] = { "half_pixel", EPL_ATTR_BOOL, .def_i = 1 }, [MAXIMUM] = { "maximum", EPL_ATTR_BOOL }

const epl_op epl_op_roi_align = {
    .name = "RoiAlign", .n_inputs = 3, .n_outputs = 1, .attrs = { ROI_ATTRS },
    .infer = infer_roi_align, .grad = grad_roi_align, EPL_REF(epl_ref_roi_align), .sample = sample_roi_align,
};

const epl_op epl_op_roi_align_grad = {
    .name = "RoiAlignGrad", .n_inputs = 4, .min_inputs = 3, .n_outputs = 1, .shape_only = 8,
    .attrs = { ROI_ATTRS, [SHAPE] = { "shape", EPL_ATTR_INTS } }, /* x's, unless the last input has it */
    .infer = infer_roi_align_grad, .grad = grad_roi_align_grad, EPL_REF(epl_ref_roi_align_grad), .sample = sample_roi_align_grad,
};

epl_value *epl_roi_align(epl_graph *g, epl_value *x, epl_value *rois, epl_value *images, epl_roi_opts o)
{
    const epl_attr attrs[EPL_MAX_ATTRS] = { [OUT_HEIGHT] = EPL_A_I(o.height ? o.height : 1), [OUT_WIDTH] = EPL_A_I(o.width ? o.width : 1),
                                            [RATIO] = EPL_A_I(o.sampling_ratio), [SCALE] = EPL_A_R(o.scale != 0 ? o.scale : 1),
                                            [HALF_PIXEL] = EPL_A_I(!o.no_shift), [MAXIMUM] = EPL_A_I(o.maximum) };
    return x && rois && images ? epl_apply(g, &epl_op_roi_align, EPL_IN(x, rois, images), attrs) : NULL;
}

/* ---- NonMaxSuppression ---- */

enum { NMS_MOST, NMS_IOU, NMS_SCORE, NMS_CENTER, NMS_COUNT, NMS_N };

static bool infer_nms(epl_node *n)
{
    const epl_shape boxes = n->inputs[0]->shape, scores = n->inputs[1]->shape;
    if (!epl_check_floats(n, 2))
        return false;
    if (boxes.rank != 3 || boxes.dim[2] != 4 || scores.rank != 3 || scores.dim[0] != boxes.dim[0] || scores.dim[2] != boxes.dim[1])
        return epl_node_fail(n, EPL_ERR_SHAPE, "boxes of rank %d and scores of rank %d; [N, B, 4] and [N, C, B] are needed", boxes.rank,
                             scores.rank);
    return epl_set_type(n, 0, EPL_I64, EPL_SHAPE(n->attrs[NMS_COUNT].i, 3));
}

static void grad_none(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx; // indices do not change with the values
}

static epl_node *sample_nms(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t  images = epl_pick(r, 1, 2), classes = epl_pick(r, 1, 2), boxes = epl_pick(r, 1, 6);
    const epl_attr attrs[NMS_N] = { EPL_A_I(epl_pick(r, 1, 4)), EPL_A_R(0.3), EPL_A_R(-0.5), EPL_A_I(epl_pick(r, 0, 1)),
                                    EPL_A_I(epl_pick(r, 0, 9)) };
    epl_value *b = epl_sample_input(g, dtype, EPL_SHAPE(images, boxes, 4), 0, 4, 0.01);
    return epl_node_add(g, &epl_op_non_max_suppression,
                        EPL_IN(b, epl_sample_input(g, dtype, EPL_SHAPE(images, classes, boxes), -1, 1, 0.01)), attrs, 0, NULL);
}

const epl_op epl_op_non_max_suppression = {
    .name = "NonMaxSuppression", .n_inputs = 2, .n_outputs = 1,
    .attrs = { [NMS_MOST] = { "most", EPL_ATTR_INT }, [NMS_IOU] = { "iou_threshold", EPL_ATTR_REAL },
               [NMS_SCORE] = { "score_threshold", EPL_ATTR_REAL, .def_r = -INFINITY }, [NMS_CENTER] = { "center", EPL_ATTR_BOOL },
               [NMS_COUNT] = { "count", EPL_ATTR_INT, .required = true } },
    .infer = infer_nms, .grad = grad_none, EPL_REF(epl_ref_non_max_suppression), .sample = sample_nms,
};

epl_value *epl_non_max_suppression(epl_graph *g, epl_value *boxes, epl_value *scores, int64_t count, epl_nms_opts o)
{
    const epl_attr attrs[NMS_N] = { EPL_A_I(o.most_per_class), EPL_A_R(o.iou_threshold),
                                    EPL_A_R(o.has_score_threshold ? o.score_threshold : -INFINITY), EPL_A_I(o.center), EPL_A_I(count) };
    return boxes && scores ? epl_apply(g, &epl_op_non_max_suppression, EPL_IN(boxes, scores), attrs) : NULL;
}
