/* See compiled.h. */
#include "common/compiled.h"

#include <unistd.h>

bool compiled_has(const char *program)
{
    char      path[512];
    const int length = (int)strcspn(program, " "); // flags may follow
    for (const char *p = getenv("PATH"); p && *p;) {
        const int n = (int)strcspn(p, ":");
        snprintf(path, sizeof path, "%.*s/%.*s", n, p, length, program);
        if (access(path, X_OK) == 0)
            return true;
        p += n + (p[n] == ':');
    }
    return false;
}

const char *compiled_cc(const char *cc)
{
    static const char *const cached[] = { "ccache gcc", "ccache clang", "ccache aarch64-linux-gnu-gcc" };
    for (size_t i = 0; i < EPL_COUNT(cached); i++)
        if (strcmp(cached[i] + strlen("ccache "), cc) == 0 && compiled_has("ccache"))
            return cached[i];
    return cc;
}

epl_verify_result compiled_check(test *t, const epl_model *m, epl_compile_opts o, epl_verify_opts v, epl_artifact *made)
{
    epl_verify_result r;
    const char *dir = test_temp(t, "network");
    v.flags = "-Werror";
    v.cc    = compiled_cc(v.cc ? v.cc : "gcc");
    CHECK_OK(t, m->ctx, epl_compile(m, dir, o, made));
    CHECK_OK(t, m->ctx, epl_verify_artifact(m, dir, o, v, &r));
    return r;
}

void compiled_within(test *t, const epl_verify_result *r, double atol)
{
    for (int i = 0; i < r->n_outputs; i++)
        if (!(r->outputs[i].max_abs <= atol))
            FAIL(t, "output %d (%s): compiled and library differ by %g (%g ULP, %lld elements)", i, r->outputs[i].name,
                 r->outputs[i].max_abs, r->outputs[i].max_ulp, (long long)r->outputs[i].n_different);
}

int compiled_instructions(test *t, const char *function, const char *what)
{
    char command[1024], line[512];
    snprintf(command, sizeof command, "objdump -d --no-show-raw-insn %s", test_temp(t, "network/model"));
    FILE *f = popen(command, "r");
    int   n = -1;
    bool  in = false;
    while (f && fgets(line, sizeof line, f)) {
        if (line[0] != ' ')
            in = strstr(line, function) && strchr(line, '<');
        if (in)
            n = n < 0 ? 0 : n + (strstr(line, what) != NULL);
    }
    if (f)
        pclose(f);
    return n;
}
