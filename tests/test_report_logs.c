/* The logs of a run: TensorBoard event files against golden bytes that TensorBoard itself wrote, JSON lines, progress;
 * files torn at every byte; resuming. */
#include "common/report.h"

#include <espalier/report.h>

#include <unistd.h>

/* ---- TensorBoard ---- */

enum { FIRST_RECORD = 40 }; // the file's version

/* A file with one scalar at step 300, at time 1.5 s, as tests/golden/make_report_events.py writes it. */
static const unsigned char golden_start[] = {
    0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa3, 0x7f, 0x4b, 0x22, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8,
    0x3f, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32, 0x2a, 0x28, 0x64, 0x6c,
    0x1b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1a, 0x0d, 0x9e, 0x13, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8,
    0x3f, 0x10, 0xac, 0x02, 0x2a, 0x0d, 0x0a, 0x0b, 0x0a, 0x04, 0x6c, 0x6f, 0x73, 0x73, 0x15, 0x42, 0xba, 0x59, 0x3b, 0xe9,
    0xd9, 0x65, 0x2f
};

static void write_events(test *t, epl_context *ctx, const char *path, epl_events_opts o, int from, int to)
{
    o.wall_time_s = 1.5;
    epl_events *e = epl_events_open(ctx, path, o);
    CHECK_OK(t, ctx, e);
    for (int step = from; step < to; step++)
        CHECK_OK(t, ctx, epl_events_scalar(e, "loss", step, 1.0 / (step + 1)));
    CHECK_OK(t, ctx, epl_events_close(e));
}

TEST(events_have_the_golden_bytes)
{
    epl_context *ctx = test_context(t);
    char path[TEMP];
    temp_path(t, path, "events.out.tfevents.golden");
    write_events(t, ctx, path, (epl_events_opts){ 0 }, 300, 301);
    size_t bytes;
    char *file = test_read_file(t, path, &bytes);
    CHECK_INT(t, bytes, sizeof golden_start);
    CHECK(t, memcmp(file, golden_start, sizeof golden_start) == 0);
    free(file);
}

TEST(events_text_and_image)
{
    epl_context *ctx = test_context(t);
    char path[TEMP];
    temp_path(t, path, "events.out.tfevents.media");
    epl_events *e = epl_events_open(ctx, path, (epl_events_opts){ .wall_time_s = 1.5 });
    CHECK_OK(t, ctx, epl_events_text(e, "config", -1, "**a**\xff"));
    CHECK_OK(t, ctx, epl_events_image(e, "example", 2, pixel, sizeof pixel));
    CHECK_FAILS(t, ctx, epl_events_image(e, "example", 2, pixel, 10), EPL_ERR_FORMAT, "image 'example': 10 bytes");
    CHECK_OK(t, ctx, epl_events_close(e));
    size_t bytes, golden_bytes;
    char *file = test_read_file(t, path, &bytes);
    char *golden = test_read_file(t, test_golden_path(EPL_SOURCE_DIR, "report_events.bin"), &golden_bytes);
    CHECK_INT(t, bytes, golden_bytes);
    CHECK(t, memcmp(file, golden, bytes) == 0);
    free(file);
    free(golden);
}

/* Cut anywhere, resumed, and written on: the file is the one that was never cut. */
TEST(events_resume_after_a_crash_at_any_byte)
{
    epl_context *ctx = test_context(t);
    char whole[TEMP], cut[TEMP];
    temp_path(t, whole, "whole");
    temp_path(t, cut, "cut");
    write_events(t, ctx, whole, (epl_events_opts){ 0 }, 0, 5);
    size_t bytes;
    char *file = test_read_file(t, whole, &bytes);
    for (size_t n = FIRST_RECORD; n <= bytes; n++) {
        CHECK_OK(t, ctx, epl_write_file(ctx, cut, file, n));
        for (int restored = -1; restored < 5; restored += 2) {
            write_events(t, ctx, cut, (epl_events_opts){ .resume = true, .resume_step = restored }, 5, 6);
            size_t again;
            char *resumed = test_read_file(t, cut, &again);
            CHECK(t, again > FIRST_RECORD && again < bytes + 60);
            free(resumed);
        }
    }
    write_events(t, ctx, whole, (epl_events_opts){ .resume = true, .resume_step = 2 }, 3, 5);
    size_t again;
    char *resumed = test_read_file(t, whole, &again);
    CHECK_INT(t, again, bytes);
    CHECK(t, memcmp(resumed, file, bytes) == 0);
    free(resumed);
    free(file);
}

TEST(events_leave_other_files_alone)
{
    epl_context *ctx = test_context(t);
    const char *const text = "Dear reader, this is no event file, whatever it is called.";
    char path[TEMP];
    temp_path(t, path, "letter.txt");
    CHECK_OK(t, ctx, epl_write_file(ctx, path, text, strlen(text)));
    CHECK_FAILS(t, ctx, epl_events_open(ctx, path, (epl_events_opts){ .resume = true }), EPL_ERR_FORMAT, "nothing was changed");
    char *file = test_read_file(t, path, NULL);
    CHECK_STR(t, file, text);
    free(file);
    CHECK_FAILS(t, ctx, epl_events_open(ctx, "/nowhere/at/all", (epl_events_opts){ 0 }), EPL_ERR_IO, "/nowhere/at/all");
}

/* Any change of one byte ends the kept part at or before the record it is in; nothing is read out of bounds. */
PROPERTY(events_with_a_changed_byte, 200)
{
    epl_context *ctx = test_context(t);
    char path[TEMP];
    temp_path(t, path, "changed");
    write_events(t, ctx, path, (epl_events_opts){ 0 }, 0, 4);
    size_t bytes, kept;
    char *file = test_read_file(t, path, &bytes);
    const size_t at = FIRST_RECORD + epl_rng_below(t->rng, bytes - FIRST_RECORD);
    file[at] = (char)(file[at] ^ (char)(1 + epl_rng_below(t->rng, 255)));
    CHECK_OK(t, ctx, epl_write_file(ctx, path, file, bytes));
    free(file);
    epl_events *e = epl_events_open(ctx, path, (epl_events_opts){ .resume = true, .resume_step = 100 });
    CHECK_OK(t, ctx, e);
    CHECK_OK(t, ctx, epl_events_close(e));
    free(test_read_file(t, path, &kept));
    CHECK(t, kept <= at);
}

/* ---- JSON lines ---- */

static void write_lines(test *t, epl_context *ctx, const char *path, epl_jsonl_opts o, int from, int to)
{
    epl_jsonl *l = epl_jsonl_open(ctx, path, o);
    CHECK_OK(t, ctx, l);
    for (int step = from; step < to; step++) {
        epl_jsonl_begin(l, step);
        epl_jsonl_number(l, "loss", step == 2 ? NAN : 1.0 / (step + 1));
        epl_jsonl_integer(l, "images", (int64_t)1 << 60);
        epl_jsonl_text(l, "phase", step ? "train" : "a \"b\"\n\xff");
        CHECK_OK(t, ctx, epl_jsonl_end(l));
    }
    CHECK_OK(t, ctx, epl_jsonl_close(l));
}

TEST(lines_resume_after_a_crash_at_any_byte)
{
    epl_context *ctx = test_context(t);
    char path[TEMP];
    temp_path(t, path, "log.jsonl");
    write_lines(t, ctx, path, (epl_jsonl_opts){ 0 }, 0, 4);
    size_t bytes;
    char *whole = test_read_file(t, path, &bytes);
    CHECK_GOLDEN(t, "report_log.jsonl", whole);
    for (size_t n = 0; n <= bytes; n++) {
        int lines = 0; // whole ones
        for (size_t i = 0; i < n; i++)
            lines += whole[i] == '\n';
        CHECK_OK(t, ctx, epl_write_file(ctx, path, whole, n));
        write_lines(t, ctx, path, (epl_jsonl_opts){ .resume = true, .resume_step = lines - 1 }, lines, 4);
        char *again = test_read_file(t, path, NULL);
        CHECK_STR(t, again, whole);
        free(again);
    }
    write_lines(t, ctx, path, (epl_jsonl_opts){ .resume = true, .resume_step = 1 }, 2, 4); // from an earlier checkpoint
    char *again = test_read_file(t, path, NULL);
    CHECK_STR(t, again, whole);
    free(again);
    free(whole);
}

TEST(lines_of_another_kind_are_left_alone)
{
    static const char *const files[] = { "{\"step\":0}\nhello\n", "[1]\n", "{\"step\":0.5}\n", "{\"step\":0\n", "\n",
                                         "{\"step\":0,\"step\":1}\n" };
    epl_context *ctx = test_context(t);
    char path[TEMP];
    temp_path(t, path, "other.jsonl");
    for (size_t i = 0; i < EPL_COUNT(files); i++) {
        CHECK_OK(t, ctx, epl_write_file(ctx, path, files[i], strlen(files[i])));
        CHECK_FAILS(t, ctx, epl_jsonl_open(ctx, path, (epl_jsonl_opts){ .resume = true, .resume_step = 9 }), EPL_ERR_FORMAT,
                    i ? "line 1 is not" : "line 2 is not");
        char *same = test_read_file(t, path, NULL);
        CHECK_STR(t, same, files[i]);
        free(same);
    }
}

TEST(full_disk_is_told_once_and_at_the_end)
{
    epl_context *ctx = test_context(t);
    if (!epl_file_exists("/dev/full"))
        test_skip(t, "/dev/full");
    char path[TEMP];
    temp_path(t, path, "full");
    if (symlink("/dev/full", path) != 0)
        test_skip(t, "no symbolic links");
    epl_jsonl *l = epl_jsonl_open(ctx, path, (epl_jsonl_opts){ 0 });
    CHECK(t, !l || (epl_jsonl_begin(l, 0), !epl_jsonl_end(l)));
    CHECK_INT(t, epl_error_code(ctx), EPL_ERR_IO);
    CHECK(t, !l || !epl_jsonl_close(l));
}

/* ---- progress ---- */

static double test_clock(void *user)
{
    return *(double *)user;
}

typedef struct screen {
    char *text;
    size_t n;
    FILE *file;
    double time_s;
} screen;

static epl_meter *meter_on(epl_context *ctx, screen *s, epl_meter_opts o)
{
    setenv("LC_ALL", "C", 1);
    s->file = open_memstream(&s->text, &s->n);
    o.clock = test_clock;
    o.clock_user = &s->time_s;
    return epl_meter_new(ctx, s->file, o);
}

static void run(screen *s, epl_meter *m, const char *label, double total, double seconds, int reports)
{
    const epl_progress p = epl_meter_progress(m);
    for (int i = 0; i <= reports; i++, s->time_s += seconds / reports)
        p.report(p.user, label, total * i / reports, total);
    s->time_s -= seconds / reports;
}

static void end(screen *s, epl_meter *m)
{
    epl_meter_free(m);
    fclose(s->file);
}

TEST(progress_as_plain_lines)
{
    epl_context *ctx = test_context(t);
    screen s = { 0 };
    epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .unit = "images", .style = 2 });
    run(&s, m, "epoch 1\x1b[2J", 1000, 20, 1000);
    epl_meter_print(m, "a remark\nin one line");
    run(&s, m, "epoch 2", 1000, 2, 100);
    end(&s, m);
    CHECK_GOLDEN(t, "report_progress.txt", s.text);
    free(s.text);
}

/* Work that reports once, at its end, has no time that could be told. */
TEST(progress_of_one_report_tells_no_time)
{
    epl_context *ctx = test_context(t);
    screen s = { 0 };
    epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .style = 2 });
    const epl_progress p = epl_meter_progress(m);
    CHECK(t, p.report(p.user, "attack", 50, 50));
    end(&s, m);
    CHECK_STR(t, s.text, "attack: 100 %\n");
    free(s.text);
}

TEST(progress_redraws_ten_times_a_second)
{
    epl_context *ctx = test_context(t);
    screen s = { 0 };
    epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .style = 1, .width = 70 });
    run(&s, m, "epoch 1", 10000, 5, 10000);
    end(&s, m);
    const int drawn = count(s.text, "\r\033[K");
    CHECK(t, drawn >= 45 && drawn <= 51);
    CHECK_INT(t, count(s.text, "\n"), 1);
    CHECK(t, strstr(s.text, "\033[36m") && strstr(s.text, " left") && strstr(s.text, "100 %"));
    free(s.text);
}

TEST(progress_fits_any_width_and_respects_no_color)
{
    epl_context *ctx = test_context(t);
    for (int width = 1; width < 120; width++) {
        screen s = { 0 };
        setenv("NO_COLOR", "1", 1);
        epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .unit = "images", .style = 1, .width = width });
        unsetenv("NO_COLOR");
        run(&s, m, "a label that is longer than most terminals would like it to be", 1e7, 5000, 20);
        end(&s, m);
        CHECK(t, !strstr(s.text, "\033[3") && !strstr(s.text, "\033[9"));
        for (const char *line = s.text; *line;) {
            line += strncmp(line, "\r\033[K", 4) == 0 ? 4 : 0;
            const size_t n = strcspn(line, "\r\n");
            CHECK(t, n < (size_t)width || (width == 1 && n <= 1));
            line += n + (line[n] == '\n');
        }
        free(s.text);
    }
}

TEST(progress_asks_to_stop)
{
    epl_context *ctx = test_context(t);
    volatile sig_atomic_t stop = 0;
    screen s = { 0 };
    epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .style = 1, .stop = &stop });
    const epl_progress p = epl_meter_progress(m);
    CHECK(t, p.report(p.user, "a", 1, 10));
    stop = 1;
    CHECK(t, !p.report(p.user, "a", 2, 10));
    end(&s, m);
    CHECK(t, s.text[s.n - 1] == '\n'); // the prompt starts on its own line
    free(s.text);
    const epl_progress nothing = epl_meter_progress(NULL);
    CHECK(t, nothing.report(nothing.user, "a", 1, 10));
}

/* Unknown totals, falling counts, time that stands still: nothing is printed that is no number. */
PROPERTY(progress_takes_anything, 200)
{
    static const double odd[] = { 0, 1, -1, 5, 1e300, INFINITY, -INFINITY, NAN };
    epl_context *ctx = test_context(t);
    screen s = { 0 };
    epl_meter *m = meter_on(ctx, &s, (epl_meter_opts){ .style = 1 + t->index % 2, .width = 60 });
    const epl_progress p = epl_meter_progress(m);
    for (int i = 0; i < 50; i++) {
        s.time_s += epl_rng_below(t->rng, 3) ? 0.3 * (double)epl_rng_below(t->rng, 30) : 0;
        p.report(p.user, NULL, odd[epl_rng_below(t->rng, 8)], odd[epl_rng_below(t->rng, 8)]);
    }
    end(&s, m);
    CHECK(t, !strstr(s.text, "nan") && !strstr(s.text, "inf"));
    free(s.text);
}
