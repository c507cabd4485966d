/* Detection, different elements, determinants, bits: numbers worked out by hand. That the gradients are right is tested in
 * test_operators.c. */
#include "common/expect.h"

#include <espalier/ops.h>

#define GRAPH(name) epl_context *ctx = test_context(t); epl_graph *name = epl_graph_new(ctx, "test")

TEST(boxes_that_overlap_better_ones_go)
{
    GRAPH(g);
    epl_value *boxes = VALUES(g, EPL_F32, EPL_SHAPE(1, 4, 4), 0, 0, 2, 2, 0, 0, 2, 1.9, 1, 1, 0, 0, 5, 5, 6, 6); // (y1, x1, y2, x2)
    epl_value *scores = VALUES(g, EPL_F32, EPL_SHAPE(1, 2, 4), 0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.2, 0.2);
    epl_nms_opts o = { .most_per_class = 4, .iou_threshold = 0.5 };
    EXPECT(t, epl_non_max_suppression(g, boxes, scores, 7, o), EPL_SHAPE(7, 3), 0, 0, 0, 0, 0, 2, 0, 0, 3, 0, 1, 1, 0,
           1, 2, 0, 1, 3, -1, -1, -1);
    o.has_score_threshold = true;
    o.score_threshold = 0.25;
    EXPECT(t, epl_non_max_suppression(g, boxes, scores, 4, o), EPL_SHAPE(4, 3), 0, 0, 0, 0, 0, 2, 0, 1, 1, -1, -1, -1);
    epl_nms_opts one = { .most_per_class = 1, .center = true };
    EXPECT(t, epl_non_max_suppression(g, boxes, scores, 2, one), EPL_SHAPE(2, 3), 0, 0, 0, 0, 1, 1);
    epl_graph_free(g);
}

TEST(boxes_are_resampled)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_F32, EPL_SHAPE(1, 4, 4, 1), 0), *image = VALUES(g, EPL_I64, EPL_SHAPE(1), 0);
    epl_value *box = VALUES(g, EPL_F32, EPL_SHAPE(1, 4), 0.5, 0.5, 2.5, 2.5);
    epl_roi_opts o = { .height = 2, .width = 2, .sampling_ratio = 1 };
    EXPECT(t, epl_roi_align(g, x, box, image, o), EPL_SHAPE(1, 2, 2, 1), 2.5, 3.5, 6.5, 7.5);
    o.no_shift = true;
    EXPECT(t, epl_roi_align(g, x, box, image, o), EPL_SHAPE(1, 2, 2, 1), 5, 6, 9, 10);
    EXPECT(t, epl_roi_align(g, x, box, image, (epl_roi_opts){ .no_shift = true }), EPL_SHAPE(1, 1, 1, 1), 7.5); // a point for each pixel
    epl_value *nowhere = VALUES(g, EPL_F32, EPL_SHAPE(1, 4), 90, 90, 92, 92), *none = VALUES(g, EPL_I64, EPL_SHAPE(1), 3);
    EXPECT(t, epl_roi_align(g, x, nowhere, image, o), EPL_SHAPE(1, 2, 2, 1), 0, 0, 0, 0);
    EXPECT(t, epl_roi_align(g, x, box, none, o), EPL_SHAPE(1, 2, 2, 1), 0, 0, 0, 0);
    epl_graph_free(g);
}

TEST(different_elements_and_slices)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F32, EPL_SHAPE(6), 2, 1, 1, 3, NAN, NAN), *first, *inverse, *times;
    EXPECT(t, epl_unique(g, x, 4, (epl_unique_opts){ 0 }, &first, &inverse, &times), EPL_SHAPE(4), 1, 2, 3, NAN);
    EXPECT(t, first, EPL_SHAPE(4), 1, 0, 3, 4);
    EXPECT(t, inverse, EPL_SHAPE(6), 1, 0, 0, 2, 3, 3);
    EXPECT(t, times, EPL_SHAPE(4), 2, 1, 1, 2);
    EXPECT(t, epl_unique(g, x, 5, (epl_unique_opts){ .unsorted = true }, &first, NULL, NULL), EPL_SHAPE(5), 2, 1, 3, NAN, 0);
    EXPECT(t, first, EPL_SHAPE(5), 0, 1, 3, 4, -1); // there are but four
    epl_value *rows = VALUES(g, EPL_I32, EPL_SHAPE(3, 2), 2, 3, 1, 0, 2, 3);
    EXPECT(t, epl_unique(g, rows, 2, (epl_unique_opts){ .along_axis = true }, NULL, &inverse, NULL), EPL_SHAPE(2, 2), 1, 0, 2, 3);
    EXPECT(t, inverse, EPL_SHAPE(3), 1, 0, 1);
    EXPECT(t, epl_unique(g, rows, 2, (epl_unique_opts){ .along_axis = true, .axis = -1 }, NULL, NULL, NULL),
           EPL_SHAPE(3, 2), 2, 3, 1, 0, 2, 3);
    epl_value *sparse = VALUES(g, EPL_BOOL, EPL_SHAPE(2, 2), 0, 1, 1, 0);
    EXPECT(t, epl_first_non_zero(g, sparse, 3), EPL_SHAPE(2, 3), 0, 1, -1, 1, 0, -1);
    epl_graph_free(g);
}

TEST(determinants_products_and_bits)
{
    GRAPH(g);
    EXPECT(t, epl_det(g, VALUES(g, EPL_F32, EPL_SHAPE(2, 2, 2), 0, 2, 3, 4, 1, 2, 2, 4)), EPL_SHAPE(2), -6, 0);
    epl_value *x = VALUES(g, EPL_F32, EPL_SHAPE(4), 1, 2, 0, 5);
    EXPECT(t, epl_cumprod(g, x, 0, (epl_cumsum_opts){ 0 }), EPL_SHAPE(4), 1, 2, 0, 0);
    EXPECT(t, epl_cumprod(g, x, 0, (epl_cumsum_opts){ .exclusive = true, .reverse = true }), EPL_SHAPE(4), 0, 0, 5, 1);
    EXPECT(t, epl_cumprod(g, VALUES(g, EPL_I8, EPL_SHAPE(3), 100, 2, 2), 0, (epl_cumsum_opts){ 0 }), EPL_SHAPE(3), 100, -56, -112);
    EXPECT(t, epl_bit_cast(g, x, EPL_U32), EPL_SHAPE(4), 0x3f800000, 0x40000000, 0, 0x40a00000);
    epl_value *pooled = epl_max_pool(g, VALUES(g, EPL_F32, EPL_SHAPE(1, 2, 3, 2), 1, 9, 5, 8, 2, 7, 3, 1, 4, 2, 6, 3),
                                     (epl_pool_opts){ .kernel = { 2, 3 } });
    EXPECT(t, epl_max_pool_indices(g, pooled, false), EPL_SHAPE(1, 1, 1, 2), 5, 6); // [N, C, H, W]: 6 elements a channel
    EXPECT(t, epl_max_pool_indices(g, pooled, true), EPL_SHAPE(1, 1, 1, 2), 5, 6);
    EXPECT(t, epl_shift_right(g, VALUES(g, EPL_I8, EPL_SHAPE(2), -8, 8), VALUES(g, EPL_I8, EPL_SHAPE(2), -1, 100)), EPL_SHAPE(2), -1, 0);
    epl_graph_free(g);
}

TEST(narrow_floats)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F32, EPL_SHAPE(6), 0.3, 1.0625, 1.1875, 500, -INFINITY, 0.001);
    epl_narrow_opts e4m3 = { .mantissa = 3, .least_exponent = -6, .most = 448 };
    EXPECT(t, epl_narrow(g, x, e4m3), EPL_SHAPE(6), 0.3125, 1, 1.25, 448, -448, 0.001953125); // ties to even
    e4m3.overflow = EPL_NARROW_NAN;
    e4m3.rounding = EPL_NARROW_UP;
    EXPECT(t, epl_narrow(g, x, e4m3), EPL_SHAPE(6), 0.3125, 1.125, 1.25, NAN, NAN, 0.001953125);
    e4m3.rounding = EPL_NARROW_DOWN;
    EXPECT(t, epl_narrow(g, x, e4m3), EPL_SHAPE(6), 0.28125, 1, 1.125, NAN, NAN, 0);
    epl_graph_free(g);
}

TEST(what_does_not_fit_is_said)
{
    test_context(t);
    GRAPH(g);
    CHECK(t, epl_det(g, expect_counting(g, EPL_F32, EPL_SHAPE(2, 3), 0)) == NULL);
    CHECK(t, strstr(epl_error_message(ctx), "[2, 3] is no square matrix") != NULL);
    epl_graph_free(g);
}
