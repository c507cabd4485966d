/* The loader: the same bits for any number of workers and from wherever one starts; every sample once per epoch; clean ends. */
#include <espalier/data.h>
#include <unistd.h>

#include "common/check.h"

static epl_dataset *shapes(test *t, epl_context *ctx, int64_t n)
{
    char text[64];
    snprintf(text, sizeof text, "shapes:image=12,count=%lld", (long long)n);
    epl_dataset *d = epl_dataset_open(ctx, text, (epl_dataset_opts){ .seed = 3 });
    CHECK_OK(t, ctx, d);
    return d;
}

static epl_loader *open_loader(test *t, epl_context *ctx, epl_dataset *d, epl_loader_opts o)
{
    epl_loader *l = epl_loader_new(ctx, d, o);
    CHECK_OK(t, ctx, l);
    return l;
}

static uint64_t hash_tensor(const epl_tensor *x, uint64_t h)
{
    return x ? epl_hash(x->data, epl_tensor_bytes(x), h) : h;
}

static uint64_t hash_batch(const epl_batch *b)
{
    const int64_t place[3] = { b->epoch, b->step, b->n_valid };
    uint64_t      h = epl_hash(place, sizeof place, 0);
    h = hash_tensor(b->soft, hash_tensor(b->weights, hash_tensor(b->labels, hash_tensor(b->x, h))));
    return epl_hash(b->indices, (size_t)b->x->shape.dim[0] * sizeof *b->indices, h);
}

static const epl_loader_opts busy = { .batch = 8, .shuffle = true, .seed = 5,
                                      .augment = "pad-crop:2,flip,rotate:10,noise:0.1,cutout:3,mixup:0.4,cutmix:1" };

TEST(batches_are_the_same_for_any_number_of_workers)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = shapes(t, ctx, 50);
    uint64_t     first[20];
    for (int workers = 0; workers <= 4; workers++) {
        epl_loader_opts o = busy;
        o.n_workers       = workers;
        o.no_prefetch     = workers == 0;
        o.n_ahead         = workers == 3 ? 1 : 0;
        epl_loader *l = open_loader(t, ctx, d, o);
        CHECK_INT(t, epl_loader_steps(l), 7);
        for (int i = 0; i < 20; i++) {
            epl_batch b;
            CHECK_OK(t, ctx, epl_loader_next(l, &b));
            CHECK(t, b.epoch == i / 7 && b.step == i % 7 && b.n_valid == (i % 7 == 6 ? 2 : 8));
            const uint64_t h = hash_batch(&b);
            if (workers == 0)
                first[i] = h;
            CHECK(t, h == first[i]);
        }
        epl_loader_free(l);
    }
    for (int i = 1; i < 20; i++)
        CHECK(t, first[i] != first[i - 1]);
    epl_dataset_free(d);
}

PROPERTY(seek_goes_anywhere, 12)
{
    epl_context    *ctx = test_context(t);
    epl_dataset    *d   = shapes(t, ctx, 50);
    epl_loader_opts o   = busy;
    uint64_t        all[28];
    o.no_prefetch   = true;
    epl_loader *ref = open_loader(t, ctx, d, o);
    for (int i = 0; i < 28; i++) {
        epl_batch b;
        CHECK_OK(t, ctx, epl_loader_next(ref, &b));
        all[i] = hash_batch(&b);
    }
    epl_loader_free(ref);
    o.no_prefetch = t->index % 4 == 0;
    o.n_workers   = t->index % 4;
    epl_loader *l = open_loader(t, ctx, d, o);
    for (int k = 0; k < 15; k++) {
        const int at = (int)epl_rng_below(t->rng, 22);
        CHECK_OK(t, ctx, epl_loader_seek(l, at / 7, at % 7));
        const int n = (int)epl_rng_below(t->rng, 6);
        for (int i = 0; i < n; i++) {
            epl_batch b;
            CHECK_OK(t, ctx, epl_loader_next(l, &b));
            CHECK(t, hash_batch(&b) == all[at + i]);
        }
    }
    epl_batch b;
    CHECK_OK(t, ctx, epl_loader_seek(l, 1, 7) && epl_loader_next(l, &b)); // the end of an epoch is the next one's beginning
    CHECK(t, b.epoch == 2 && b.step == 0);
    CHECK_FAILS(t, ctx, epl_loader_seek(l, 0, 8), EPL_ERR_ARGUMENT, "step 8 of 7");
    CHECK_FAILS(t, ctx, epl_loader_seek(l, -1, 0), EPL_ERR_ARGUMENT, "epoch -1");
    epl_loader_free(l);
    epl_dataset_free(d);
}

TEST(an_epoch_holds_every_sample_once)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = shapes(t, ctx, 30);
    epl_loader  *l   = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 8, .shuffle = true, .seed = 1, .n_epochs = 2 });
    epl_batch    b;
    int64_t      order[2][30];
    while (epl_loader_next(l, &b)) {
        const float *w = b.weights->data;
        CHECK_INT(t, b.n_valid, b.step == 3 ? 6 : 8);
        for (int64_t i = 0; i < 8; i++)
            CHECK(t, w[i] == (i < b.n_valid));
        for (int64_t i = 0; i < b.n_valid; i++)
            order[b.epoch][b.step * 8 + i] = b.indices[i];
        for (int64_t i = 0; i < 8; i++) { // what is there is what was promised, padding included
            int64_t y = -1;
            static uint8_t x[12 * 12 * 3];
            CHECK_OK(t, ctx, epl_dataset_fetch(d, b.indices[i], x, &y));
            CHECK_INT(t, ((const int64_t *)b.labels->data)[i], y);
            CHECK_NEAR(t, ((const float *)b.x->data)[i * 432 + 77], x[77] / 255.0, .atol = 1e-6);
        }
        CHECK(t, b.soft == NULL);
        if (b.step == 3)
            CHECK(t, b.indices[6] == order[b.epoch][0] && b.indices[7] == order[b.epoch][1]);
    }
    CHECK(t, epl_error_code(ctx) == EPL_OK);
    CHECK(t, !epl_loader_next(l, &b) && epl_error_code(ctx) == EPL_OK);
    CHECK(t, memcmp(order[0], order[1], sizeof order[0]) != 0);
    for (int e = 0; e < 2; e++) {
        int seen[30] = { 0 };
        for (int i = 0; i < 30; i++)
            seen[order[e][i]]++;
        for (int i = 0; i < 30; i++)
            CHECK_INT(t, seen[i], 1);
    }
    CHECK_OK(t, ctx, epl_loader_seek(l, 1, 3) && epl_loader_next(l, &b)); // from the end back
    CHECK_INT(t, b.indices[0], order[1][24]);
    epl_loader_free(l);
    epl_dataset_free(d);
}

TEST(drop_last_and_order)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = shapes(t, ctx, 30);
    epl_loader  *l   = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 8, .drop_last = true });
    epl_batch    b;
    CHECK_INT(t, epl_loader_steps(l), 3);
    for (int i = 0; i < 7; i++) {
        CHECK_OK(t, ctx, epl_loader_next(l, &b));
        CHECK(t, b.n_valid == 8 && b.indices[0] == i % 3 * 8);
    }
    epl_loader_free(l);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 31, .drop_last = true }), EPL_ERR_ARGUMENT,
                "'shapes' has 30 samples, a batch needs 31");
    l = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 70 }); // more than twice the set: filled up all the same
    CHECK_OK(t, ctx, epl_loader_next(l, &b));
    CHECK(t, b.n_valid == 30 && b.indices[69] == 9);
    epl_loader_free(l);
    epl_dataset_free(d);
}

TEST(soft_labels_sum_to_one_padding_included)
{
    epl_context    *ctx = test_context(t);
    epl_dataset    *d   = shapes(t, ctx, 30);
    epl_loader_opts o   = busy;
    o.n_epochs          = 1;
    epl_loader *l = open_loader(t, ctx, d, o);
    epl_batch   b;
    while (epl_loader_next(l, &b)) {
        CHECK(t, epl_shape_equal(b.soft->shape, EPL_SHAPE(8, 6)));
        for (int i = 0; i < 8; i++) {
            float sum = 0;
            for (int c = 0; c < 6; c++)
                sum += ((const float *)b.soft->data)[6 * i + c];
            CHECK_NEAR(t, sum, 1, .atol = 1e-6);
        }
    }
    CHECK(t, epl_error_code(ctx) == EPL_OK);
    epl_loader_free(l);
    epl_dataset_free(d);
}

TEST(masks_move_with_their_pictures)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(4, 6, 6, 1)), *y = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(4, 6, 6));
    for (int i = 0; i < 4 * 36; i++)
        ((uint8_t *)x->data)[i] = ((uint8_t *)y->data)[i] = (uint8_t)(i + 1);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "masks", x, y);
    CHECK_OK(t, ctx, d);
    epl_loader *l = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 4, .augment = "pad-crop:2,flip,centre-crop:5:4" });
    for (int k = 0; k < 10; k++) {
        epl_batch b;
        CHECK_OK(t, ctx, epl_loader_next(l, &b));
        CHECK(t, epl_shape_equal(b.x->shape, EPL_SHAPE(4, 5, 4, 1)) && epl_shape_equal(b.labels->shape, EPL_SHAPE(4, 5, 4)));
        for (int i = 0; i < 80; i++)
            CHECK_NEAR(t, ((const float *)b.x->data)[i] * 255, ((const int64_t *)b.labels->data)[i], .atol = 1e-3);
    }
    epl_loader_free(l);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 2, .augment = "mixup:1" }), EPL_ERR_SHAPE,
                "need one class per sample");
    epl_dataset_free(d);
}

TEST(targets_that_would_stay_behind_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_from_tensors_take(ctx, "depth", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 4, 4, 1)),
                                                     epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 4, 4)));
    CHECK_OK(t, ctx, d);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 2, .augment = "noise:1,flip" }), EPL_ERR_SHAPE,
                "'flip' would move the pictures of 'depth' and not their targets, of rank 2");
    epl_loader_free(open_loader(t, ctx, d, (epl_loader_opts){ .batch = 2, .augment = "noise:1" }));
    epl_dataset_free(d);
}

TEST(tokens_and_numbers)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = epl_dataset_open(ctx, "order:count=9", (epl_dataset_opts){ 0 });
    epl_dataset *e = epl_dataset_open(ctx, "adding:count=9", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d && e);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 3, .augment = "noise:1" }), EPL_ERR_DTYPE, "tokens");
    epl_loader *l = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 3 });
    epl_loader *m = open_loader(t, ctx, e, (epl_loader_opts){ .batch = 3, .augment = "normalise:0.5:1" });
    epl_batch   b, c;
    CHECK_OK(t, ctx, epl_loader_next(l, &b) && epl_loader_next(m, &c));
    CHECK(t, b.x->dtype == EPL_I64 && epl_shape_equal(b.x->shape, EPL_SHAPE(3, 20)));
    CHECK(t, c.labels->dtype == EPL_F32 && epl_shape_equal(c.labels->shape, EPL_SHAPE(3, 1)));
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, e, (epl_loader_opts){ .batch = 3, .augment = "mixup:1" }), EPL_ERR_SHAPE,
                "need one class per sample");
    epl_loader_free(l);
    epl_loader_free(m);
    epl_dataset_free(d);
    epl_dataset_free(e);
}

TEST(the_loader_keeps_its_data_set_and_ends_from_any_state)
{
    epl_context *ctx = test_context(t);
    for (int k = 0; k < 40; k++) {
        epl_dataset    *d = shapes(t, ctx, 40);
        epl_loader_opts o = busy;
        o.n_workers       = 1 + k % 3;
        epl_loader *l = open_loader(t, ctx, d, o);
        epl_dataset_free(d);
        epl_batch b;
        for (int i = 0; i < k % 5; i++)
            CHECK_OK(t, ctx, epl_loader_next(l, &b));
        if (k % 2)
            CHECK_OK(t, ctx, epl_loader_seek(l, k, 0));
        epl_loader_free(l);
    }
}

TEST(bad_options)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = shapes(t, ctx, 10);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ 0 }), EPL_ERR_ARGUMENT, "batch of 0, expected at least 1");
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 2, .n_workers = -1 }), EPL_ERR_ARGUMENT, "-1 workers");
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 2, .augment = "flap" }), EPL_ERR_ARGUMENT, "'flip'");
    epl_dataset_free(d);
}

TEST(making_a_loader_survives_every_failed_allocation)
{
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_dataset *d   = epl_dataset_open(ctx, "shapes:image=8,count=9", (epl_dataset_opts){ 0 });
        epl_loader  *l   = d ? epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 4, .augment = "flip,mixup:1" }) : NULL;
        done             = l != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_loader_free(l);
        epl_dataset_free(d);
    }
}

#ifdef EPL_HAVE_PNG

TEST(a_picture_that_cannot_be_read_stops_the_loader_in_its_place)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x   = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(4, 4, 1));
    char         path[1024];
    snprintf(path, sizeof path, "%s/a", test_temp(t, "bad"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, path));
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/a/%d.png", test_temp(t, "bad"), i);
        CHECK_OK(t, ctx, epl_image_save_png(ctx, path, x));
    }
    snprintf(path, sizeof path, "%s/a/4.png", test_temp(t, "bad"));
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "no", 2));
    epl_dataset *d = epl_dataset_open(ctx, test_temp(t, "bad"), (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    for (int workers = 0; workers < 3; workers++) {
        epl_loader *l = open_loader(t, ctx, d, (epl_loader_opts){ .batch = 2, .n_workers = workers, .no_prefetch = !workers });
        epl_batch   b;
        CHECK_OK(t, ctx, epl_loader_next(l, &b) && epl_loader_next(l, &b));
        for (int k = 0; k < 2; k++) // it stays wrong
            CHECK_FAILS(t, ctx, epl_loader_next(l, &b), EPL_ERR_FORMAT, "4.png: neither a PNG nor a JPEG");
        CHECK_OK(t, ctx, epl_loader_seek(l, 1, 1) && epl_loader_next(l, &b));
        CHECK(t, b.epoch == 1 && b.indices[0] == 2);
        epl_loader_free(l);
    }
    epl_dataset_free(d);
    epl_tensor_free(x);
}

#endif
